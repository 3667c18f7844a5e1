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
)

// Place is where something was measured, without which absolute figures say nothing.
type Place struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	MemoryMiB int64  `json:"memory_mib,omitzero"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
	Postgres  string `json:"postgres"`
	Fsync     string `json:"fsync"` // of PostgreSQL: fsync and synchronous_commit
	NATS      string `json:"nats"`
	Redis     string `json:"redis,omitzero"`
	Load      string `json:"load_average"` // of the machine, before
}

// Where asks the servers for their versions, and this machine what it is.
func Where(ctx context.Context, s *Servers) (*Place, error) {
	p := &Place{Cores: runtime.NumCPU(), Kernel: runtime.GOOS + " " + firstLine("/proc/sys/kernel/osrelease"), Go: runtime.Version(), Load: strings.Join(strings.Fields(firstLine("/proc/loadavg"))[:], " ")}
	p.Load, _, _ = strings.Cut(p.Load, " ")
	p.Processor = field("/proc/cpuinfo", "model name")
	var kb int64
	if _, err := fmt.Sscan(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), &kb); err == nil {
		p.MemoryMiB = kb >> 10
	}
	conn, err := pgx.ConnectConfig(ctx, s.Postgres.ConnConfig.Copy())
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // only read
	err = conn.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1),
		'fsync ' || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')`).Scan(&p.Postgres, &p.Fsync)
	if err != nil {
		return nil, fmt.Errorf("ask postgres for its version: %w", err)
	}
	nc, err := s.NATS("outbox bench")
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	p.NATS = nc.ConnectedServerVersion()
	nc.Close()
	if info, err := s.Redis.Info(ctx, "server").Result(); err == nil { // a scenario that needs it will say
		_, rest, _ := strings.Cut(info, "redis_version:")
		p.Redis, _, _ = strings.Cut(rest, "\r\n")
	}
	return p, nil
}

// String is one line.
func (p *Place) String() string {
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

// field is the first value of a name in a file of /proc.
func field(path, name string) string {
	data, _ := os.ReadFile(path) // #nosec G304 -- of /proc; empty elsewhere
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Print writes a curve for people.
func (d *Drawn) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tmetric\tfloor\tthis\tratio\tspread\tCPU s per million events\n", d.Axis)
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
