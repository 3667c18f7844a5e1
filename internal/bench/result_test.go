package bench

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEvaluate uses the ratios of adjacent runs, and compares medians with targets.
func TestEvaluate(t *testing.T) {
	sample := func(arm string, round int, rate, ms float64, cpu time.Duration) Sample {
		return Sample{
			Arm: arm, Round: round, Events: 1000, Seconds: 2, Allocs: 5000, Busy: 0.5,
			Values: map[string]float64{perSecond: rate, p50: ms},
			Costs:  map[string]Cost{procOurs: {CPU: cpu, Peak: 3 << 20}},
		}
	}
	samples := []Sample{
		sample("floor", 0, 100, 1, time.Second), sample(oursArm, 0, 80, 2, time.Second), // the machine was slow
		sample("floor", 1, 1000, 1, time.Second), sample(oursArm, 1, 900, 1.2, 3*time.Second),
		sample("floor", 2, 1000, 1, time.Second), sample(oursArm, 2, 950, 1.4, 2*time.Second),
	}
	s := &Scenario{Name: "drain", targets: []target{atLeast(perSecond, 0.95), atMost(p50, 1.5), {metric: allocations, most: 6}}}
	r := s.evaluate(&session{servers: &Servers{Notes: []string{"of the servers"}}, notes: []string{"of the session"}}, samples)
	rate, ms, allocs := r.Measure(oursArm, perSecond), r.Measure(oursArm, p50), r.Measure(oursArm, allocations)
	if rate.Floor != 1000 || rate.Value != 900 || rate.Ratio != 0.9 || rate.RatioLeast != 0.8 || rate.RatioMost != 0.95 || *rate.Met {
		t.Errorf("rate: %+v", rate)
	}
	if ms.Value != 1.4 || ms.Ratio != 1.4 || !*ms.Met || ms.Want != "ratio <= 1.5" {
		t.Errorf("latency: %+v", ms)
	}
	if allocs.Value != 5 || !*allocs.Met || allocs.Ratio != 0 {
		t.Errorf("allocations: %+v", allocs)
	}
	if missed := r.Missed(); len(missed) != 1 || missed[0].Metric != perSecond {
		t.Errorf("missed: %+v", missed)
	}
	ours := r.Arms[1]
	if ours.CPU[procOurs] != 2000 || ours.Cores[procOurs] != 1 || ours.PeakMiB[procOurs] != 3 || !strings.Contains(r.Bottleneck, procOurs+", which fills one core") {
		t.Errorf("use: %+v, %s", ours, r.Bottleneck)
	}
	if len(r.Notes) != 2 || r.Floor != "floor" {
		t.Errorf("notes %q, floor %q", r.Notes, r.Floor)
	}
}

func TestBottleneck(t *testing.T) {
	for want, u := range map[string]Use{
		"the processors: all ":                {Busy: 0.95, Cores: map[string]float64{procPostgres: 1.1, procOurs: 0.7, procRest: 0.1}},
		"other processes, which used":         {Busy: 0.95, Cores: map[string]float64{procRest: 1.5, procOurs: 0.3}},
		"redis, which fills one core":         {Busy: 0.6, Cores: map[string]float64{procRedis: 0.95, procOurs: 0.2}},
		"latency, not computation":            {Busy: 0.4, Cores: map[string]float64{procPostgres: 0.4, procOurs: 0.3}},
		"nothing: no process used":            {Busy: 0.01, Cores: map[string]float64{procOurs: 0.001}},
		"unknown: the servers are on another": {Cores: map[string]float64{procOurs: 0.3}},
	} {
		if got := bottleneck(u); !strings.HasPrefix(got, want) {
			t.Errorf("%+v: %s, want %s", u, got, want)
		}
	}
}

// TestSettings clears the settings that a scenario does not use.
func TestSettings(t *testing.T) {
	set := Settings{Events: 7, Rate: 5, Clients: 3}.or(Settings{Runs: 5, Events: 100, Payload: 200})
	if set != (Settings{Runs: 5, Events: 7, Payload: 200}) {
		t.Errorf("%+v", set)
	}
	for _, bad := range []Settings{{Runs: -1}, {Payload: 1 << 20}, {Duration: time.Millisecond}, {Window: 20_000}, {Clients: 501}} {
		if bad.Check() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// TestCurvesAreInBounds checks every value of every curve.
func TestCurvesAreInBounds(t *testing.T) {
	for _, c := range Curves() {
		for _, s := range c.series {
			for _, v := range s.values {
				set := Settings{Events: curveEvents}
				s.set(&set, v)
				if err := set.or(c.scenario.defaults).Check(); err != nil || set.or(c.scenario.defaults).Events < 0 {
					t.Errorf("curve %s at %d: %v", c.Name, v, err)
				}
				if set == (Settings{Events: curveEvents}) {
					t.Errorf("curve %s at %d changes nothing", c.Name, v)
				}
			}
		}
	}
}

// TestReport writes a report with its tables, and reads it again.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	for name, page := range map[string]string{
		"README.md":  "before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n",
		"details.md": "<!-- use --><!-- end of use -->\n<!-- settings --><!-- end of settings -->\nbetween\n<!-- curves -->old<!-- end of curves -->\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, err := ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	met := false
	result := func(name string) *Result {
		return &Result{Scenario: name, Title: "a title", Floor: "raw", Measures: []Measure{{Arm: oursArm, Metric: perSecond, Floor: 1234, Value: 1111, Ratio: 0.9, Want: "ratio >= 0.95", Met: &met}}}
	}
	report.Add(result("invalidate"))
	report.Add(result("drain"))
	report.Add(result("drain"))
	report.AddCurve(&CurveResult{Curve: "payload", Title: "Rate of a backlog by payload", Axis: "bytes", Points: []Point{{X: 100, Result: result("drain")}}})
	report.Platform = &Platform{Cores: 2, Postgres: "15", NATS: "2"}
	if err := report.Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := ReadReport(dir)
	if err != nil || len(again.Results) != 2 || again.Results[0].Scenario != "drain" || len(again.Curves) != 1 {
		t.Fatalf("%+v, %v", again, err)
	}
	for name, wants := range map[string][]string{
		"README.md":  {"before\n", "Measured on 2 cores", "| `drain` | events/s | 1,234 | 1,111 | 0.90 |", "**missed**", "after\n"},
		"details.md": {"- `invalidate`: a title. Floor: raw.", "between\n", "### Rate of a backlog by payload"},
	} {
		data, err := os.ReadFile(filepath.Join(dir, name)) // #nosec G304 -- of this test
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s: want %q in:\n%s", name, want, data)
			}
		}
		if strings.Contains(string(data), "old") {
			t.Errorf("%s still has the old table:\n%s", name, data)
		}
	}
}

// TestProcess compares what /proc and getrusage report for this process.
func TestProcess(t *testing.T) {
	const work = 60 * time.Millisecond // of CPU, however long that takes on a busy machine
	before, deadline := self(), time.Now().Add(30*time.Second)
	for x := 0.0; self().CPU-before.CPU < work; {
		for range 100_000 {
			x = math.Sqrt(x + 1)
		}
		if time.Now().After(deadline) {
			t.Fatalf("30 s of work used %s of CPU, want %s", self().CPU-before.CPU, work)
		}
	}
	if read := process(os.Getpid())(); read.CPU == 0 || math.Abs((read.CPU-self().CPU).Seconds()) > 0.2 || read.Peak < 1<<20 {
		t.Errorf("/proc reports %+v, getrusage %+v", read, self())
	}
	if all := tree(os.Getppid())(); all.CPU < process(os.Getpid())().CPU {
		t.Errorf("the parent and its descendants used %s, this process alone more", all.CPU)
	}
	if machine() < self().CPU {
		t.Errorf("the machine used %s, this process %s", machine(), self().CPU)
	}
}
