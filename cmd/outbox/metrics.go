package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A measure is one metric, and how to read it from a snapshot of type S. It has no labels: nothing here may depend
// on what passes through.
type measure[S any] struct {
	name, help string
	kind       prometheus.ValueType
	read       func(S) float64
}

// measures collects its metrics out of one snapshot, so that they belong to the same moment.
type measures[S any] struct {
	list     []measure[S]
	about    []*prometheus.Desc
	snapshot func() S
}

func newMeasures[S any](list []measure[S], snapshot func() S) *measures[S] {
	m := &measures[S]{list: list, snapshot: snapshot}
	for _, e := range list {
		m.about = append(m.about, prometheus.NewDesc(e.name, e.help, nil, nil))
	}
	return m
}

func (m *measures[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.about {
		ch <- d
	}
}

func (m *measures[S]) Collect(ch chan<- prometheus.Metric) {
	now := m.snapshot()
	for i, e := range m.list {
		ch <- prometheus.MustNewConstMetric(m.about[i], e.kind, e.read(now))
	}
}

func newBuildInfo() prometheus.Collector {
	b := readBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "outbox_build_info", Help: "1, with what was built as labels.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go},
	})
	info.Set(1)
	return info
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// seconds is a time as Prometheus has it, 0 for never.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
