package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

func sweepCommand() *cli.Command {
	return &cli.Command{
		Name: "sweep", Usage: "take members out of tags whose values are gone", UsageText: "outbox sweep --rules <file> | --tag <name> | --match <pattern> [flags]",
		Description: `Invalidating leaves the members of a tag where they are, and values expire: run this now and then (a scavenger). Of a
ZSET it removes the members whose score, their expiry in seconds since 1970, is over. Of a SET it removes those that
have no value now and after --grace, and puts back one whose value appears at that moment. With --rules it sweeps
every tag that the rules can name. A ZSET whose scores are not times loses members: look with --dry-run first.

Examples:
  outbox sweep --rules rules.yaml --dry-run
  outbox sweep --tag group:users --match 'team:*' --rate 5000 -o json`,
		Flags: append(settingFlags("invalidate", "rules"),
			&cli.StringSliceFlag{Name: "tag", Usage: "`NAME` of a tag; may be given more than once"},
			&cli.StringSliceFlag{Name: "match", Usage: "`PATTERN` of tags as in SCAN: * ? [ab]; may be given more than once"},
			&cli.BoolFlag{Name: "dry-run", Usage: "remove nothing"},
			&cli.IntFlag{Name: "rate", Value: 20_000, Usage: "`N` members looked at in a second, at most; 0: as fast as possible"},
			&cli.DurationFlag{Name: "grace", Value: 10 * time.Second, Usage: "`TIME` for which the value of a SET's member has to be gone"},
			outputFlag()),
		Action: withSettings("invalidate", sweep),
	}
}

func sweep(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	work := invalidate.Sweep{
		Tags: c.StringSlice("tag"), Match: c.StringSlice("match"), DryRun: c.Bool("dry-run"), Rate: orNegative(c.Int("rate")), Grace: c.Duration("grace"),
	}
	if c.Int("rate") < 0 || work.Grace <= 0 {
		return usagef(c, "--rate cannot be negative, and --grace has to be above 0")
	}
	if s.text("invalidate.rules") != "" {
		set, err := readRules(s)
		if err != nil {
			return err
		}
		names, patterns := set.TagNames()
		work.Tags, work.Match = append(work.Tags, names...), append(work.Match, patterns...)
	}
	if len(work.Tags)+len(work.Match) == 0 {
		return usagef(c, "no tags: give --tag, --match, or --rules that name some")
	}
	rdb, err := openRedis(s, s.log)
	if err != nil {
		return err
	}
	defer rdb.Close() //nolint:errcheck // nothing is left to write
	work.Redis = rdb
	if err := s.pingRedis(c.Context, rdb); err != nil {
		return err
	}
	said := time.Now()
	work.Progress = func(now invalidate.Swept) {
		if time.Since(said) > 2*time.Second {
			said = time.Now()
			fmt.Fprintf(c.App.ErrWriter, "%d tags, %d members, %d removed so far\n", now.Tags, now.Members, now.Removed) //nolint:errcheck // only progress
		}
	}
	swept, err := work.Run(c.Context)
	if err != nil && c.Context.Err() == nil {
		return err
	}
	return errors.Join(printSwept(c, swept, asJSON, work.DryRun), c.Context.Err())
}

func printSwept(c *cli.Context, swept invalidate.Swept, asJSON, dry bool) error {
	if asJSON {
		return printJSON(c.App.Writer, struct {
			invalidate.Swept
			DryRun bool `json:"dry_run"`
		}{swept, dry})
	}
	removed := "removed"
	if dry {
		removed = "would be removed"
	}
	_, err := fmt.Fprintf(c.App.Writer, "%d tags with %d members: %d %s, %d put back\n", swept.Tags, swept.Members, swept.Removed, removed, swept.Restored)
	if err == nil && swept.Other > 0 {
		_, err = fmt.Fprintf(c.App.ErrWriter, "%d keys are neither a SET nor a ZSET\n", swept.Other)
	}
	return err
}
