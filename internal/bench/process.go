package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Names of the processes in results.
const (
	procPostgres = "postgres"
	procNATS     = "nats"
	procRedis    = "redis"
	procOurs     = "outbox" // this process: relay, invalidator or floor, and the load
	procRelay    = "relay"  // a relay in a process of its own
	procRest     = "rest"   // all other processes of the machine
)

// tick is the unit of times in /proc: USER_HZ, which Linux reports as 100 to every program.
const tick = 10 * time.Millisecond

// A Cost is what a process used.
type Cost struct {
	CPU  time.Duration `json:"cpu_ns"`
	Peak int64         `json:"peak_rss_bytes,omitzero"` // 0: unknown
}

// watched are the visible processes, by name. On a system without /proc only this process is visible.
type watched map[string]func() Cost

// self returns what this process has used.
func self() Cost { return Cost{CPU: cpuOfSelf(), Peak: peakOf(os.Getpid())} }

// process returns a function that reads what another process has used.
func process(pid int) func() Cost {
	return func() Cost {
		own, _, _ := statOf(pid)
		return Cost{CPU: own, Peak: peakOf(pid)}
	}
}

// tree returns a function that reads what a process and its children have used, including the children that have ended.
func tree(root int) func() Cost {
	return func() Cost {
		own, ended, _ := statOf(root)
		c := Cost{CPU: own + ended}
		pids, _ := filepath.Glob("/proc/[0-9]*") // the pattern is a constant
		for _, dir := range pids {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil || pid == root {
				continue
			}
			if own, ended, parent := statOf(pid); parent == root {
				c.CPU += own + ended
			}
		}
		return c
	}
}

// statOf reads /proc/PID/stat: the CPU time of the process, that of its children that have ended, and its parent. All are 0 if
// the process does not exist.
func statOf(pid int) (own, ended time.Duration, parent int) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // the name before it may contain any character
	if len(fields) < 15 {
		return 0, 0, 0
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n } //nolint:errcheck // the kernel writes numbers
	return time.Duration(number(11)+number(12)) * tick, time.Duration(number(13)+number(14)) * tick, number(1)
}

// peakOf returns the peak resident memory of a process since forgetPeak, or since its start if that is not permitted; 0 if it
// is unknown.
func peakOf(pid int) int64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer file.Close() //nolint:errcheck // it was only read from
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64) //nolint:errcheck // the kernel writes a number
			return kb << 10
		}
	}
	return 0
}

// forgetPeak resets the peak resident memory of a process, if the kernel permits that.
func forgetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // otherwise the peak is that since its start
}

// machine returns the time that all processors were busy since the boot; 0 if it is unknown.
func machine() time.Duration {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	var busy int
	for i, field := range strings.Fields(string(line)) {
		if n, err := strconv.Atoi(field); err == nil && i >= 1 && i <= 8 && i != 4 && i != 5 { // without idle and waiting for disks
			busy += n
		}
	}
	return time.Duration(busy) * tick
}

// watch finds the processes of the servers that run on this machine.
func (s *session) watch(ctx context.Context) {
	s.procs = watched{procOurs: self}
	if runtime.GOOS != "linux" {
		return
	}
	if conn, err := s.pool.Acquire(ctx); err == nil {
		backend, remote := int(conn.Conn().PgConn().PID()), conn.Conn().PgConn().Conn().RemoteAddr()
		if _, _, parent := statOf(backend); isLocal(remote) && nameOf(backend) == "postgres" && nameOf(parent) == "postgres" {
			s.procs[procPostgres] = tree(parent)
		}
		conn.Release()
	}
	if pid := s.natsPid(); pid != 0 && pid != os.Getpid() {
		s.procs[procNATS] = process(pid)
	}
	if client, ok := s.rdb.(*redis.Client); ok && s.needs(procRedis) {
		text, _ := client.Info(ctx, "server").Result() // then the process is unknown
		_, rest, _ := strings.Cut(text, "process_id:")
		pid, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])) //nolint:errcheck // 0 then
		if name := nameOf(pid); pid != 0 && (strings.HasPrefix(name, "redis") || strings.HasPrefix(name, "valkey")) {
			s.procs[procRedis] = process(pid)
		}
	}
}

// nameOf returns the name of the program of a process; empty if it is unknown.
func nameOf(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // the process may not exist
	return strings.TrimSpace(string(data))
}

// isLocal reports whether an address is one of this machine.
func isLocal(a net.Addr) bool {
	if a == nil || a.Network() == "unix" {
		return a != nil
	}
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// natsPid returns the process of NATS; 0 if it is unknown. On this machine it is the process that listens on the port, if this
// user may see it.
func (s *session) natsPid() int {
	if s.set.Replicas > 1 && s.servers.ClusterPID != 0 {
		return s.servers.ClusterPID
	}
	if s.servers.NATSPID != 0 {
		return s.servers.NATSPID
	}
	host, port, err := net.SplitHostPort(s.nc.ConnectedAddr())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return 0
	}
	return listener(port)
}

// listener returns the process that listens on a TCP port: it finds the socket in /proc/net/tcp, and then the process that has
// it open.
func listener(port string) int {
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	suffix, inode := fmt.Sprintf(":%04X", n), ""
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, _ := os.ReadFile(table) // #nosec G304 -- one of the two
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], suffix) {
				inode = f[9]
			}
		}
	}
	if inode == "" {
		return 0
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is a constant
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == "socket:["+inode+"]" {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2]) //nolint:errcheck // the pattern only matches numbers
			return pid
		}
	}
	return 0
}
