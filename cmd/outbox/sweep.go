package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

func sweepCommand() *cli.Command {
	return &cli.Command{
		Name: "sweep", Usage: "remove members of tags whose values are gone", UsageText: "outbox sweep --rules <file> | --tag <name> | --match <pattern> [flags]",
		Description: `A tag keeps its members after their values are deleted or expire. Run sweep from time to time to remove them. From a ZSET
it removes each member whose score, the expiry of its value in seconds since 1970, has passed. From a SET it removes each
member that has no value, now and again after --grace; if the value appears in that moment, sweep restores the member.

With --rules it sweeps every tag that the rules can name. It would remove valid members from a ZSET whose scores are not
times: run it with --dry-run first.

Examples:
  outbox sweep --rules rules.yaml --dry-run
  outbox sweep --tag group:users --match 'team:*' --rate 5000 -o json`,
		Flags: append(setting.Flags("invalidate", "rules"),
			&cli.StringSliceFlag{Name: "tag", Usage: "`NAME` of a tag; may be given more than once"},
			&cli.StringSliceFlag{Name: "match", Usage: "`PATTERN` of tags as in Redis SCAN: * ? [ab]; may be given more than once"},
			&cli.BoolFlag{Name: "dry-run", Usage: "remove nothing"},
			&cli.IntFlag{Name: "rate", Value: 20_000, Usage: "`N` members checked per second, at most; 0: no limit"},
			&cli.DurationFlag{Name: "grace", Value: 10 * time.Second, Usage: "`TIME` between the two checks of a SET's member"},
			term.OutputFlag()),
		Action: action("invalidate", sweep),
	}
}

func sweep(ctx context.Context, s *session) error {
	work := invalidate.Sweep{
		Tags: s.c.StringSlice("tag"), Match: s.c.StringSlice("match"), DryRun: s.c.Bool("dry-run"), Rate: offIfZero(s.c.Int("rate")), Grace: s.c.Duration("grace"),
	}
	if s.c.Int("rate") < 0 || work.Grace <= 0 {
		return exit.Usagef(s.c, "want --rate of 0 or more and --grace above 0")
	}
	if s.set.Text("invalidate.rules") != "" {
		set, err := readRules(s.set)
		if err != nil {
			return err
		}
		names, patterns := set.TagNames()
		work.Tags, work.Match = append(work.Tags, names...), append(work.Match, patterns...)
	}
	if len(work.Tags)+len(work.Match) == 0 {
		return exit.Usagef(s.c, "missing tags; want --tag, --match, or --rules that name tags")
	}
	if err := s.dialRedis(ctx); err != nil {
		return err
	}
	work.Redis = s.redis
	printed := time.Now()
	work.Progress = func(now invalidate.Swept) {
		if time.Since(printed) > 2*time.Second {
			printed = time.Now()
			s.notef("%d tags, %d members, %d removed so far\n", now.Tags, now.Members, now.Removed)
		}
	}
	swept, err := work.Run(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	return errors.Join(printSwept(s, swept, work.DryRun), ctx.Err())
}

func printSwept(s *session, swept invalidate.Swept, dry bool) error {
	return s.print(struct {
		invalidate.Swept
		DryRun bool `json:"dry_run"`
	}{swept, dry}, func(w io.Writer) error {
		removed := "removed"
		if dry {
			removed = "would be removed"
		}
		if swept.Other > 0 {
			defer s.notef("%d keys are neither a SET nor a ZSET\n", swept.Other)
		}
		return printf(w, "%d tags with %d members: %d %s, %d restored\n", swept.Tags, swept.Members, swept.Removed, removed, swept.Restored)
	})
}
