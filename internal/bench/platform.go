package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// A Platform is the machine and the servers that figures belong to.
type Platform struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memory_mib,omitzero"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	Postgres  string `json:"postgres"`
	Fsync     string `json:"fsync"` // fsync and synchronous_commit of PostgreSQL
	NATS      string `json:"nats"`
	Redis     string `json:"redis,omitzero"`
	Load      string `json:"load_average"` // of the machine, before the run
}

// ReadPlatform reads the description of this machine and the versions of the servers.
func ReadPlatform(ctx context.Context, s *Servers) (*Platform, error) {
	p := &Platform{Cores: runtime.NumCPU(), Kernel: runtime.GOOS + " " + firstLine("/proc/sys/kernel/osrelease"), Go: runtime.Version(), Load: report.LoadAverage()}
	p.Processor = report.Processor()
	var kb int64
	if _, err := fmt.Sscan(strings.TrimSuffix(report.ProcField("/proc/meminfo", "MemTotal"), " kB"), &kb); err == nil {
		p.MemoryMiB = kb >> 10
	}
	conn, err := pgx.ConnectConfig(ctx, s.Postgres.ConnConfig.Copy())
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only read from
	err = conn.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1),
		'fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')`).Scan(&p.Postgres, &p.Fsync)
	if err != nil {
		return nil, fmt.Errorf("read the version of PostgreSQL: %w", err)
	}
	nc, err := s.NATS("outbox bench")
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	p.NATS = nc.ConnectedServerVersion()
	nc.Close()
	if info, err := s.Redis.Info(ctx, "server").Result(); err == nil { // scenarios that need Redis report the error
		_, rest, _ := strings.Cut(info, "redis_version:")
		p.Redis, _, _ = strings.Cut(rest, "\r\n")
	}
	return p, nil
}

// String returns the platform on one line.
func (p *Platform) String() string {
	redis := ""
	if p.Redis != "" {
		redis = ", Redis " + p.Redis
	}
	return fmt.Sprintf("%d cores (%s), %d MiB, %s; PostgreSQL %s (%s), NATS %s%s, %s; load average before %s",
		p.Cores, p.Processor, p.MemoryMiB, p.Kernel, p.Postgres, p.Fsync, p.NATS, redis, p.Go, p.Load)
}

func firstLine(path string) string {
	data, _ := os.ReadFile(path) // #nosec G304 -- of /proc; empty elsewhere
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

// Print writes the points of a curve as text.
func (d *CurveResult) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tmetric\tfloor\tours\tratio\tspread\tCPU s per million events\n", d.Axis)
	for _, p := range d.Points {
		for _, m := range p.Result.Measures {
			if !d.shows(m) {
				continue
			}
			cells := m.cells()
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", strings.TrimSpace(group(float64(p.X))+" "+p.Series), m.Metric, strings.Join(cells[:4], "\t"), number(p.CPU()))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
