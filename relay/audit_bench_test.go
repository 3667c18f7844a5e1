package relay_test

import (
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// BenchmarkAudit audits a stream of 200,000 events. PostgreSQL, the broker and the audit share the machine.
func BenchmarkAudit(b *testing.B) {
	const events = 200_000
	g := &rig{t: b, natsURL: devtest.NATS(b).URL(), nc: devtest.Conn(b), stream: devtest.Stream(b)}
	g.openTable()
	g.insertN(events)
	cfg := g.config()
	cfg.Logger = nil
	run := g.start(cfg)
	g.drained()
	must(b, run.stop())
	a := g.audit(relay.AuditConfig{})
	cpu := processCPU()
	for b.Loop() {
		if report := g.audited(a, nil); report.Published != events {
			b.Fatalf("%+v", report)
		}
	}
	b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((processCPU()-cpu).Nanoseconds())/float64(b.N)/events, "cpu-ns/event") // of the broker too
	b.ReportMetric(0, "ns/op")
}
