package devstack

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The locations of the server programs are searched in this order; install.sh searches the same ones. An environment
// variable that is set must be correct: no other location is then searched.
const (
	postgresEnv = "OUTBOX_PG_BIN"        // the folder that contains postgres and initdb
	redisEnv    = "OUTBOX_REDIS_BIN"     // redis-server or its folder
	bouncerEnv  = "OUTBOX_PGBOUNCER_BIN" // pgbouncer or its folder
)

var (
	postgresDebian = []string{"/usr/lib/postgresql/*/bin"}
	postgresMac    = []string{
		"/opt/homebrew/opt/postgresql@*/bin",
		"/opt/homebrew/opt/postgresql/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	}
	bouncerDirs = []string{"/usr/sbin", "/opt/homebrew/bin", "/opt/homebrew/opt/pgbouncer/bin", "/usr/local/opt/pgbouncer/bin"}
	redisMac    = []string{"/opt/homebrew/bin", "/opt/homebrew/opt/redis/bin", "/usr/local/opt/redis/bin"}
)

const (
	postgresHint = `install it with "make deps", or
  Debian, Ubuntu  apt-get install -y postgresql
  Fedora          dnf install -y postgresql-server postgresql-contrib
  macOS           brew install postgresql@17`
	redisHint = `install it with "make deps", or
  Debian, Ubuntu  apt-get install -y redis-server
  Fedora          dnf install -y redis
  macOS           brew install redis`
	bouncerHint = `install it with "make deps", or
  Debian, Ubuntu  apt-get install -y pgbouncer (which starts a service)
  Fedora          dnf install -y pgbouncer
  macOS           brew install pgbouncer`
)

// findPostgres returns the folder that contains postgres and initdb.
func findPostgres() (string, error) {
	programs := []string{"postgres", "initdb"}
	if dir := os.Getenv(postgresEnv); dir != "" {
		if !holds(dir, programs...) {
			return "", fmt.Errorf("%w: %s=%s must contain postgres and initdb; correct or unset it, or %s",
				ErrMissing, postgresEnv, dir, postgresHint)
		}
		return dir, nil
	}
	dirs := newestFirst(postgresDebian)
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	dirs = append(dirs, newestFirst(postgresMac)...)
	for _, dir := range dirs {
		if holds(dir, programs...) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: no postgres and initdb in $%s, %s, PATH, Homebrew or Postgres.app; %s",
		ErrMissing, postgresEnv, postgresDebian[0], postgresHint)
}

// findRedis returns the path of redis-server.
func findRedis() (string, error) { return findProgram("redis-server", redisEnv, redisMac, redisHint) }

// findBouncer returns the path of pgbouncer.
func findBouncer() (string, error) {
	return findProgram("pgbouncer", bouncerEnv, bouncerDirs, bouncerHint)
}

// findProgram returns the path of a program: the value of the environment variable, or else the first match in PATH and
// then in dirs.
func findProgram(name, env string, dirs []string, hint string) (string, error) {
	if path := os.Getenv(env); path != "" {
		if holds(path, name) {
			path = filepath.Join(path, name)
		}
		if !executable(path) {
			return "", fmt.Errorf("%w: %s=%s must be %s or its folder; correct or unset it, or %s", ErrMissing, env, path, name, hint)
		}
		return path, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range dirs {
		if holds(dir, name) {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("%w: no %s in $%s, PATH or %s; %s", ErrMissing, name, env, strings.Join(dirs, ", "), hint)
}

var versionInPath = regexp.MustCompile(`(\d+)[^/]*/bin$`)

// newestFirst expands patterns of folders and sorts the highest major version first.
func newestFirst(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // never fails: the patterns are constant and well formed
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(majorVersion(b), majorVersion(a)) })
	return dirs
}

// majorVersion returns 17 for …/postgresql@17/bin, and 0 if the path contains no version.
func majorVersion(dir string) int {
	match := versionInPath.FindStringSubmatch(dir)
	if match == nil {
		return 0
	}
	n, _ := strconv.Atoi(match[1])
	return n
}

// holds reports whether dir contains all the programs.
func holds(dir string, programs ...string) bool {
	return !slices.ContainsFunc(programs, func(name string) bool { return !executable(filepath.Join(dir, name)) })
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
