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

// No process, folder or mount remains, no matter how the process that started the servers ends.
func TestNothingRemains(t *testing.T) {
	ends := map[string]func(*childProcess){
		"kill":   func(f *childProcess) { f.signal(f.cmd.Process.Pid, syscall.SIGKILL) },
		"ctrl-c": func(f *childProcess) { f.signal(-f.cmd.Process.Pid, syscall.SIGINT) }, // to the process group, as a terminal does
		"panic":  func(*childProcess) {},
		"exit":   func(*childProcess) {},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startServers(t, name)
			f.stdin.Close()
			end(f)
			f.wait()
			devtest.Eventually(t, within, "all processes ended", f.noProcess)
			devtest.Eventually(t, within, "all folders removed", func() error { return empty(f.dir) })
			if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), f.dir) {
				t.Errorf("a file system is still mounted below %s: %v", f.dir, err)
			}
		})
	}
}

// The kernel stops the servers if the guardians were killed as well. Only the folders remain.
func TestKernelStopsServers(t *testing.T) {
	t.Parallel()
	f := startServers(t, "kill")
	guardians := 0
	for pid, about := range f.processes() {
		if strings.Contains(about, "outbox-guardian") {
			f.signal(pid, syscall.SIGKILL)
			guardians++
		}
	}
	if guardians != 4 {
		t.Errorf("got %d guardians, want 4, one for each server", guardians)
	}
	f.signal(f.cmd.Process.Pid, syscall.SIGKILL)
	f.wait()
	devtest.Eventually(t, within, "all processes ended", f.noProcess)
	mounts, _ := filepath.Glob(filepath.Join(f.dir, "*", "mount-*")) // cleanup of this test; a constant pattern cannot fail
	for _, mount := range mounts {
		if err := syscall.Unmount(mount, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
}

// Groups of Redis servers are cleaned up as well, including frozen members.
func TestNothingRemainsOfRedisGroups(t *testing.T) {
	t.Parallel()
	f := startChild(t, redisGroups)
	if found := f.processes(); len(found) != 16 { // 3 masters, 2 servers and 3 sentinels, each with a guardian
		t.Fatalf("got %d processes in %s, want 16: %v", len(found), f.dir, found)
	}
	f.signal(f.cmd.Process.Pid, syscall.SIGKILL)
	f.wait()
	devtest.Eventually(t, within, "all processes ended", f.noProcess)
	devtest.Eventually(t, within, "all folders removed", func() error { return empty(f.dir) })
}

// A server outlives the thread that started it.
func TestServerOutlivesThread(t *testing.T) {
	t.Parallel()
	started := make(chan string)
	var start func()
	start = func() {
		runtime.LockOSThread() // never unlocked, so the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			go start() // the main thread never ends; this goroutine occupies it until the test is over
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
			return fmt.Errorf("%s still exists", thread)
		}
		return nil
	})
	if err := devtest.RedisClient(t).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// A childProcess is a run of this test binary that started servers in a folder.
type childProcess struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startServers(t *testing.T, end string) *childProcess {
	t.Helper()
	f := startChild(t, end)
	if found := f.processes(); len(found) < 7 { // postgres, pgbouncer, redis and four guardians
		t.Fatalf("got %d processes in %s, want at least 7: %v", len(found), f.dir, found)
	}
	return f
}

// startChild starts the child process and returns when its servers are running.
func startChild(t *testing.T, end string) *childProcess {
	t.Helper()
	f := &childProcess{t: t, dir: serverParent(t)}
	f.cmd = exec.Command(os.Args[0])
	f.cmd.Env = append(os.Environ(), childEnv+"="+end+" "+f.dir)
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := f.cmd.StdinPipe()
	must(t, err)
	f.stdin = stdin
	stdout, err := f.cmd.StdoutPipe()
	must(t, err)
	must(t, f.cmd.Start())
	t.Cleanup(func() { f.cmd.Process.Kill() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("got %q, %v from the child process, want \"ready\"", line, err)
	}
	return f
}

func (f *childProcess) signal(pid int, signal syscall.Signal) {
	f.t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		f.t.Fatalf("signal %d: %v", pid, err)
	}
}

// wait waits for the end of the child process, which must not be a success.
func (f *childProcess) wait() {
	f.t.Helper()
	if err := f.cmd.Wait(); err == nil {
		f.t.Fatal("the child process exited with 0, want a failure")
	}
}

func (f *childProcess) noProcess() error {
	if left := f.processes(); len(left) > 0 {
		return fmt.Errorf("processes in %s: %v", f.dir, left)
	}
	return nil
}

// processes returns the running processes, except the child process, whose working folder or command line contains the
// folder. Zombies have neither.
func (f *childProcess) processes() map[int]string {
	found := map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // a constant pattern cannot fail
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == f.cmd.Process.Pid {
			continue
		}
		command, _ := os.ReadFile(dir + "/cmdline") // empty if the process has just exited
		cwd, _ := os.Readlink(dir + "/cwd")
		about := strings.ReplaceAll(string(command), "\x00", " ") + " in " + cwd
		if strings.Contains(about, f.dir) {
			found[pid] = about
		}
	}
	return found
}
