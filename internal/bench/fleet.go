package bench

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// fleet is several outboxes at once: it is here for its curve, and is no part of "all".
func fleet() *Scenario {
	return &Scenario{
		Name: "relays", Short: "backlogs of several outboxes at once",
		Title:    "backlogs of several outboxes, each with a relay and a stream on the same NATS, against as many async publishers",
		alone:    true,
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 200_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192, Fleet: 2},
		targets:  []target{},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{{"async publish", l.fleetFloor}, {oursArm, l.fleetOurs}}}, nil
		},
	}
}

// fleetFloor has a publisher for each stream, all at once. Events is for each.
func (l *lab) fleetFloor(ctx context.Context, m *meter) error {
	all := make([]*letters, l.set.Fleet)
	streams := make([]string, l.set.Fleet)
	for i := range all {
		stream, err := l.stream(ctx)
		if err != nil {
			return err
		}
		streams[i], all[i] = stream, newLetters(stream, l.set.Events, l.set.Payload)
	}
	group, work := errgroup.WithContext(ctx)
	m.start()
	for _, letters := range all {
		group.Go(func() error { return publishAsync(work, l, letters) })
	}
	err := group.Wait()
	m.stop(l.set.Fleet * l.set.Events)
	for _, stream := range streams {
		err = errors.Join(err, l.expect(ctx, stream, l.set.Events), l.js.DeleteStream(ctx, stream))
	}
	return err
}

func (l *lab) fleetOurs(ctx context.Context, m *meter) error {
	stations := make([]*station, l.set.Fleet)
	for i := range stations {
		s, err := l.station(ctx)
		if err != nil {
			return err
		}
		if err := s.fill(ctx, l.set.Events); err != nil {
			return err
		}
		stations[i] = s
	}
	var relays []*running
	stop := func() (err error) {
		for _, r := range relays {
			err = errors.Join(err, r.stop())
		}
		return err
	}
	m.start()
	for _, s := range stations {
		r, err := s.relay(ctx)
		if err != nil {
			return errors.Join(err, stop())
		}
		relays = append(relays, r)
	}
	var err error
	for _, r := range relays {
		err = errors.Join(err, r.published(ctx, l.set.Events))
	}
	m.stop(l.set.Fleet * l.set.Events)
	err = errors.Join(err, stop())
	for _, s := range stations {
		err = errors.Join(err, s.remove(ctx))
	}
	return err
}
