package devstack_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// However the process that started the servers ends, nothing is left.
func TestNothingIsLeft(t *testing.T) {
	ends := map[string]func(*family){
		"kill":   func(f *family) { f.signal(f.cmd.Process.Pid, syscall.SIGKILL) },
		"ctrl-c": func(f *family) { f.signal(-f.cmd.Process.Pid, syscall.SIGINT) }, // as a terminal: to the group
		"panic":  func(*family) {},
		"exit":   func(*family) {},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFamily(t, name)
			f.stdin.Close()
			end(f)
			f.wait()
			devtest.Eventually(t, within, "no process left", f.noProcess)
			devtest.Eventually(t, within, "no folder left", func() error { return empty(f.dir) })
			if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), f.dir) {
				t.Errorf("something is still mounted below %s: %v", f.dir, err)
			}
		})
	}
}

// The kernel stops the servers where even the guardians were killed; only the
// folders stay.
func TestKernelStopsServers(t *testing.T) {
	t.Parallel()
	f := startFamily(t, "kill")
	guardians := 0
	for pid, about := range f.processes() {
		if strings.Contains(about, "outbox-guardian") {
			f.signal(pid, syscall.SIGKILL)
			guardians++
		}
	}
	if guardians != 4 {
		t.Errorf("%d guardians, want one for each server", guardians)
	}
	f.signal(f.cmd.Process.Pid, syscall.SIGKILL)
	f.wait()
	devtest.Eventually(t, within, "no process left", f.noProcess)
	mounts, _ := filepath.Glob(filepath.Join(f.dir, "*", "mount-*")) // for the test's cleanup; a well-formed pattern
	for _, mount := range mounts {
		if err := syscall.Unmount(mount, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
}

// Groups of Redis servers are no exception, not even frozen members.
func TestNothingIsLeftOfRedisGroups(t *testing.T) {
	t.Parallel()
	f := startChild(t, redisGroups)
	if found := f.processes(); len(found) != 16 { // 3 masters, 2 servers, 3 sentinels, as many guardians
		t.Fatalf("%d processes in %s, want 16: %v", len(found), f.dir, found)
	}
	f.signal(f.cmd.Process.Pid, syscall.SIGKILL)
	f.wait()
	devtest.Eventually(t, within, "no process left", f.noProcess)
	devtest.Eventually(t, within, "no folder left", func() error { return empty(f.dir) })
}

// A server belongs to the process, not to the thread that happened to start it.
func TestServerOutlivesThread(t *testing.T) {
	t.Parallel()
	started := make(chan string)
	var start func()
	start = func() {
		runtime.LockOSThread() // and end locked: the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			go start() // the first thread of a process never ends; this goroutine keeps it from the next
			<-t.Context().Done()
			return
		}
		thread := fmt.Sprintf("/proc/self/task/%d", syscall.Gettid())
		devtest.Redis(t)
		started <- thread
	}
	go start()
	thread := <-started
	devtest.Eventually(t, within, "thread ended", func() error {
		if _, err := os.Stat(thread); err == nil {
			return fmt.Errorf("%s exists", thread)
		}
		return nil
	})
	if err := devtest.RedisClient(t).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// A family is a child process and the servers it started in a folder.
type family struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startFamily(t *testing.T, end string) *family {
	t.Helper()
	f := startChild(t, end)
	if found := f.processes(); len(found) < 7 { // postgres, pgbouncer, redis, four guardians
		t.Fatalf("the test sees too few processes in %s: %v", f.dir, found)
	}
	return f
}

// startChild starts the child process and returns when its servers run.
func startChild(t *testing.T, end string) *family {
	t.Helper()
	f := &family{t: t, dir: serverParent(t)}
	f.cmd = exec.Command(os.Args[0])
	f.cmd.Env = append(os.Environ(), childEnv+"="+end+" "+f.dir)
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := f.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.stdin = stdin
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.cmd.Process.Kill() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	return f
}

func (f *family) signal(pid int, signal syscall.Signal) {
	f.t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		f.t.Fatalf("signal %d: %v", pid, err)
	}
}

// wait waits for the child, whose end is never a success.
func (f *family) wait() {
	f.t.Helper()
	if err := f.cmd.Wait(); err == nil {
		f.t.Fatal("child ended well")
	}
}

func (f *family) noProcess() error {
	if left := f.processes(); len(left) > 0 {
		return fmt.Errorf("in %s: %v", f.dir, left)
	}
	return nil
}

// processes returns the living processes, apart from the child, that work in the
// folder or name it in their command line. Zombies have neither.
func (f *family) processes() map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // a constant, well-formed pattern
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == f.cmd.Process.Pid {
			continue
		}
		command, _ := os.ReadFile(dir + "/cmdline") // empty if it just ended
		cwd, _ := os.Readlink(dir + "/cwd")
		about := strings.ReplaceAll(string(command), "\x00", " ") + " in " + cwd
		if strings.Contains(about, f.dir) {
			found[pid] = about
		}
	}
	return found
}
