package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/clitest"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// TestMain makes this test binary the program itself if its name is outbox, as scripts run it.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "outbox" {
		main()
	}
	presentPasswords()
	devtest.Main(m)
}

// patience bounds each wait of a script.
const patience = 20 * time.Second

// TestScripts runs the program against real servers. Each script has a schema and a stream of its own, which the
// settings in its environment name. $S begins its subjects, $KEYS its keys, and $LISTEN is a free address.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "outbox")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "../../testdata/script",
		Setup: func(e *testscript.Env) error { return setupScript(e, bin) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": clitest.Exits, "json": clitest.JSON, "sql": scriptSQL, "http": scriptHTTP, "until": scriptUntil,
			"hushed": scriptHushed, "redis": scriptRedis, "stream": scriptStream, "durable": scriptDurable, "term": scriptTerm, "hangup": scriptHangup,
			"cover": scriptCover, "deadletters": scriptDeadLetters, "tamper": scriptTamper,
		},
		RequireUniqueNames: true,
	})
}

func setupScript(e *testscript.Env, bin string) error {
	t := e.T().(testing.TB)
	e.Values["t"] = t
	stream := devtest.Stream(t)
	noLettersLeft(t, stream)
	e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	e.Setenv("OUTBOX_DATABASE_URL", devtest.Postgres(t).URL())
	e.Setenv("OUTBOX_NATS_URL", devtest.NATS(t).URL())
	e.Setenv("OUTBOX_REDIS_URL", devtest.Redis(t).URL())
	e.Setenv("REDIS_REFUSES", devtest.Redis(t).URL()+"99") // no such database
	e.Setenv("OUTBOX_SCHEMA", devtest.Schema(t))
	e.Setenv("OUTBOX_STREAM", stream)
	e.Setenv("S", strings.ToLower(stream))
	e.Setenv("KEYS", devtest.Prefix(t))
	e.Setenv("LISTEN", freeAddress())
	e.Setenv("SILENT", silentPooler(t, devtest.Postgres(t).URL()))
	e.Setenv("POOR", asRole(devtest.Postgres(t).URL(), "outbox_poor"))
	return nil
}

// freeAddress returns a free address, below the ports of devstack and those that the kernel assigns to clients.
func freeAddress() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(10_000))
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
}

// scriptHushed runs a command of the script, exec or exits, whose output must not contain $SECRET.
func scriptHushed(ts *testscript.TestScript, _ bool, args []string) {
	want := []string{"0"}
	if args[0] == "exits" {
		want, args = args[1:2], args[1:]
	}
	clitest.Exits(ts, false, append(want, args[1:]...))
	for _, stream := range []string{"stdout", "stderr"} {
		if strings.Contains(ts.ReadFile(stream), ts.Getenv("SECRET")) {
			ts.Fatalf("%s contains the secret", stream)
		}
	}
}

// scriptHTTP waits until the answer to a GET has a status and a body that matches, or with ! does not match:
// http 200 /readyz '"ready":true'.
func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern := regexp.MustCompile("(?m)" + args[2])
	waitFor(ts, func() (string, bool) {
		response, err := http.Get("http://" + ts.Getenv("LISTEN") + args[1])
		if err != nil {
			return err.Error(), false
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return fmt.Sprintf("%d %s %v", response.StatusCode, body, err), response.StatusCode == status && pattern.Match(body) != neg
	})
}

// scriptUntil repeats a command until its output matches: until '"pending": 0' outbox status -o json.
func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	waitFor(ts, func() (string, bool) {
		began := time.Now()
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if !pattern.MatchString(out) {
			time.Sleep(time.Since(began)) // leave the machine to the processes that the script waits for
			return fmt.Sprint(out, err), false
		}
		return "", true
	})
}

// waitFor repeats a check until it holds, and fails with its last answer if it never does.
func waitFor(ts *testscript.TestScript, look func() (answer string, holds bool)) {
	devtest.Eventually(ts.Value("t").(testing.TB), patience, "a condition of the script", func() error {
		answer, holds := look()
		if !holds {
			return errors.New(answer)
		}
		return nil
	})
}
