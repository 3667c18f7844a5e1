package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func adoptCommand() *cli.Command {
	return &cli.Command{
		Name: "adopt", Usage: "let an outbox that was restored into another PostgreSQL cluster go on here", UsageText: "outbox adopt --yes|--dry-run [flags]",
		Description: `An outbox knows the cluster that planned it. Restored into another one (pg_dump, a logical copy), it is a copy, and
no relay publishes from it: staging must not publish what production does. When this copy takes over for good and the
original is off, adopt says so. What was committed and not planned is planned now, whatever its old transaction ids say.
Writers wait meanwhile: the ids of the whole table are read once, some seconds for ten million.

Examples:
  outbox adopt --dry-run
  outbox adopt --yes`,
		Flags: append(setting.Flags(""), term.OutputFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "the original is off, and this copy takes over"},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done"}),
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
		return exit.Usagef(s.c, "say --yes when the original is off and this copy takes over, or --dry-run to see what that would do")
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
		return "the outbox lives in this cluster already: nothing to adopt"
	case out.Adopted:
		return fmt.Sprintf("adopted from cluster %d: %d events had no position and are planned now; start outbox relay", out.Original, out.Planned)
	}
	return fmt.Sprintf("planned in cluster %d, restored into %d: %d events have no position and would be planned; run: outbox adopt --yes", out.Original, out.Cluster, out.Planned)
}
