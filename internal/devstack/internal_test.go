package devstack

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestMissingPrograms(t *testing.T) {
	nothing := t.TempDir()
	t.Setenv("PATH", nothing)
	for _, list := range []*[]string{&postgresDebian, &postgresMac, &redisMac, &bouncerDirs} {
		saved := *list
		t.Cleanup(func() { *list = saved })
		*list = []string{filepath.Join(nothing, "*")}
	}
	starts := map[string]func() error{
		"postgres": func() error { _, err := StartPostgres(t.Context(), PostgresConfig{}); return err },
		"pgbouncer": func() error {
			_, err := StartPgBouncer(t.Context(), PgBouncerConfig{Postgres: &Postgres{}})
			return err
		},
		"redis-server": func() error { _, err := StartRedis(t.Context(), RedisConfig{}); return err },
	}
	for _, set := range []string{"", nothing} {
		t.Setenv(postgresEnv, set)
		t.Setenv(redisEnv, set)
		t.Setenv(bouncerEnv, set)
		for program, start := range starts {
			err := start()
			if !errors.Is(err, ErrMissing) {
				t.Fatalf("start %s: got error %v, want ErrMissing", program, err)
			}
			for _, text := range []string{program, set, "make deps", "apt-get install -y", "dnf install -y", "brew install"} {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %q does not contain %q", err, text)
				}
			}
		}
	}
}

func TestFindPrograms(t *testing.T) {
	root := t.TempDir()
	program := func(path ...string) {
		t.Helper()
		file := filepath.Join(root, filepath.Join(path...))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"9.6", "17", "15"} {
		program(version, "bin", "postgres")
		if version != "17" { // an incomplete installation, which findPostgres must ignore
			program(version, "bin", "initdb")
		}
	}
	program("redis-server")
	saved := postgresDebian
	t.Cleanup(func() { postgresDebian = saved })
	postgresDebian = []string{filepath.Join(root, "*/bin")}
	t.Setenv(postgresEnv, "")
	if dir, err := findPostgres(); err != nil || dir != filepath.Join(root, "15/bin") {
		t.Errorf("findPostgres() = %s, %v; want the newest complete version, 15", dir, err)
	}
	t.Setenv(postgresEnv, filepath.Join(root, "9.6/bin"))
	if dir, err := findPostgres(); err != nil || dir != filepath.Join(root, "9.6/bin") {
		t.Errorf("findPostgres() = %s, %v; want the folder in %s", dir, err, postgresEnv)
	}
	for _, set := range []string{root, filepath.Join(root, "redis-server")} {
		t.Setenv(redisEnv, set)
		if path, err := findRedis(); err != nil || path != filepath.Join(root, "redis-server") {
			t.Errorf("findRedis() with %s=%s: %s, %v", redisEnv, set, path, err)
		}
	}
	program("pgbouncer")
	t.Setenv(bouncerEnv, root)
	if path, err := findBouncer(); err != nil || path != filepath.Join(root, "pgbouncer") {
		t.Errorf("findBouncer() = %s, %v; want the program in %s", path, err, bouncerEnv)
	}
	for dir, want := range map[string]int{
		"/usr/lib/postgresql/9.6/bin":               9,
		"/opt/homebrew/opt/postgresql@17/bin":       17,
		"/opt/v2/postgresql/bin":                    0,
		"/Applications/Postgres.app/Versions/x/bin": 0,
	} {
		if got := majorVersion(dir); got != want {
			t.Errorf("majorVersion(%q) = %d, want %d", dir, got, want)
		}
	}
}

func TestFolderIsEnterable(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "parent")
	if err := os.Mkdir(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := &syscall.Credential{Uid: 54321, Gid: 54321}
	_, err := newFolder(parent, "x", stranger)
	if err == nil || !strings.Contains(err.Error(), parent) {
		t.Errorf("newFolder for uid 54321 in a folder with mode 0700: got error %v, want one that contains %s", err, parent)
	}
	if dir, err := newFolder(parent, "x", nil); err != nil || filepath.Dir(dir) != parent {
		t.Errorf("newFolder for the current user = %s, %v; want a folder in %s", dir, err, parent)
	}
	t.Setenv("TMPDIR", parent) // like a private TMPDIR of root
	dir, err := chooseParent("", stranger)
	if err != nil || !slices.Contains([]string{"/tmp", "/var/tmp"}, dir) {
		t.Errorf("chooseParent() = %s, %v; want /tmp or /var/tmp", dir, err)
	}
}

// The guardian, without the kernel's death signal, ends a process that ignores SIGINT, and removes the folder.
func TestGuardian(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "guarded")
	if err := os.MkdirAll(filepath.Join(dir, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	guard, err := startGuardian(dir)
	if err != nil {
		t.Fatal(err)
	}
	stubborn := exec.Command("/bin/sh", "-c", "trap '' INT; exec sleep 600")
	if err := stubborn.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- stubborn.Wait() }()
	if err := guard.watch(stubborn.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := guard.release(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process exited with 0, want an exit by signal")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stat of the folder: %v, want that it does not exist", err)
	}
}

// The guardian's first signal, SIGINT, ends a frozen process too.
func TestGuardianEndsFrozen(t *testing.T) {
	t.Parallel()
	guard, err := startGuardian(filepath.Join(t.TempDir(), "guarded"))
	if err != nil {
		t.Fatal(err)
	}
	frozen := exec.Command("sleep", "600")
	if err := frozen.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- frozen.Wait() }()
	if err := errors.Join(frozen.Process.Signal(syscall.SIGSTOP), guard.watch(frozen.Process.Pid), guard.release(), <-ended); err == nil {
		t.Error("the process exited with 0, want an exit by signal")
	}
	if status, ok := frozen.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGINT {
		t.Errorf("the process ended with %s, want SIGINT", frozen.ProcessState)
	}
}

// A start tries another port if another program has just taken the first one.
func TestStartTriesAnotherPort(t *testing.T) {
	t.Parallel()
	r, err := StartRedis(t.Context(), RedisConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	var taken int
	argv := r.proc.argv
	r.proc.argv = func(port int) []string {
		if taken == 0 {
			taken = port
			listener, err := net.Listen("tcp", address(port))
			if err != nil {
				t.Error(err)
			}
			t.Cleanup(func() { listener.Close() })
		}
		return argv(port)
	}
	if err := r.proc.startAnywhere(t.Context()); err != nil {
		t.Fatal(err)
	}
	if taken == 0 || r.proc.port == taken {
		t.Errorf("the server runs on port %d, but port %d was taken", r.proc.port, taken)
	}
}
