package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func adoptCommand() *cli.Command {
	return &cli.Command{
		Name: "adopt", Usage: "allow a restored copy to publish from this cluster", UsageText: "outbox adopt --yes|--dry-run [flags]",
		Description: `An outbox records the PostgreSQL cluster that planned its events. After a restore into another cluster (pg_dump, logical
replication) it is a copy, and no relay publishes from it: a staging copy must not publish the events of production. Run
adopt when this copy replaces the original and the original is switched off. It plans every committed event that has no
position yet. Writers wait while it reads the ids of the table once: some seconds for ten million rows.

Examples:
  outbox adopt --dry-run
  outbox adopt --yes`,
		Flags: append(setting.Flags(""), term.OutputFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "confirm that the original is switched off and this copy replaces it"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what adopt would do, change nothing"}),
		Action: action("", runAdopt),
	}
}

// adoption is what adopt prints.
type adoption struct {
	Original int64 `json:"original_cluster"` // 0 for none
	Cluster  int64 `json:"cluster"`
	Adopted  bool  `json:"adopted"`
	Planned  int64 `json:"planned"` // events that had no position
	Settled  int64 `json:"settled"` // the highest row id that came with the copy
}

func runAdopt(ctx context.Context, s *session) error {
	if s.c.Bool("yes") == s.c.Bool("dry-run") {
		return exit.Usagef(s.c, "want --yes if the original is switched off and this copy replaces it, or --dry-run to see what adopt would do")
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	home, err := s.table.Home(ctx, s.pool)
	if err != nil {
		return err
	}
	out := adoption{Original: home.Last.System, Cluster: home.Now.System}
	if home.Moved() {
		adopt := s.table.Adopt
		if s.c.Bool("dry-run") {
			adopt = s.table.TryAdopt
		}
		done, err := adopt(ctx, s.pool, s.c.Command.HelpName)
		if err != nil {
			return err
		}
		out.Adopted, out.Planned, out.Settled = !s.c.Bool("dry-run"), done.Planned, done.Settled
	}
	return s.print(out, func(w io.Writer) error { return printf(w, "%s\n", adoptionText(home, out)) })
}

func adoptionText(home table.Home, out adoption) string {
	switch {
	case !home.Moved():
		return "the outbox belongs to this cluster: nothing to adopt"
	case out.Adopted:
		return fmt.Sprintf("adopted from cluster %d: planned %d events that had no position; next: outbox relay", out.Original, out.Planned)
	}
	return fmt.Sprintf("dry run, nothing changed: the outbox was planned in cluster %d and restored into %d, adopt would plan %d events that have no position; next: outbox adopt --yes", out.Original, out.Cluster, out.Planned)
}
