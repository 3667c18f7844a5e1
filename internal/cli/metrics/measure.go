// Package metrics turns the statistics of relay and invalidator into metrics of Prometheus.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A measure is one metric and how to read it from a snapshot of type S. Its only label must be one that the
// configuration fixes, such as the consumer: a label that depends on events would have no bound.
type measure[S any] struct {
	name, help string
	kind       prometheus.ValueType
	read       func(S) float64
}

// measures collects metrics from snapshots, so that all values of one snapshot are of the same moment.
type measures[S any] struct {
	list      []measure[S]
	about     []*prometheus.Desc
	snapshots func() []S
	label     func(S) string // nil: one snapshot without a label
}

func newMeasures[S any](list []measure[S], snapshot func() S) *measures[S] {
	return describe(&measures[S]{list: list, snapshots: func() []S { return []S{snapshot()} }}, nil)
}

// newLabeled has a series for each snapshot, with a label of this name.
func newLabeled[S any](list []measure[S], name string, label func(S) string, snapshots func() []S) *measures[S] {
	return describe(&measures[S]{list: list, snapshots: snapshots, label: label}, []string{name})
}

func describe[S any](m *measures[S], labels []string) *measures[S] {
	for _, e := range m.list {
		m.about = append(m.about, prometheus.NewDesc(e.name, e.help, labels, nil))
	}
	return m
}

func (m *measures[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.about {
		ch <- d
	}
}

func (m *measures[S]) Collect(ch chan<- prometheus.Metric) {
	for _, now := range m.snapshots() {
		var labels []string
		if m.label != nil {
			labels = []string{m.label(now)}
		}
		for i, e := range m.list {
			ch <- prometheus.MustNewConstMetric(m.about[i], e.kind, e.read(now), labels...)
		}
	}
}

// Build is a metric that is always 1, with the build as labels.
func Build(version, revision, goVersion string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "outbox_build_info", Help: "Always 1; the labels describe the build.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": goVersion},
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

// seconds is a time in seconds since 1970, 0 for the zero time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
