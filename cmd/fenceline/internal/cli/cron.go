package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a machine without zones must not mean another time

	spec "github.com/robfig/cron/v3"
	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// cronFlags is what the command line says about one job and its command.
type cronFlags struct {
	holdFlags
	jobs           []string // as given
	job            string   // NAME=SCHEDULE
	name, schedule string
	zone           string
	location       *time.Location
	missed         string
	late           seconds
	retry          int
}

const cronHelp = `Run a command at each tick of a schedule, once in all of the cluster: every process that is started with the same job
waits for the ticks, and one of them claims and runs each.

SCHEDULE has five fields, as in crontab(5), or is @hourly, @daily, @weekly, @monthly, @yearly, or @every and a duration
in whole seconds. The command is run directly, not by a shell, with an empty input, in a process group of its own. Exit
codes other than 0 count as failed runs. Start the job with the same flags everywhere.

When the claim on a tick can no longer be renewed, the command gets SIGTERM, and is dead before etcd can give the tick to
anybody else; when the claim is lost at once, SIGTERM, and SIGKILL after --grace. A run that is ended so, or whose process
dies, has failed, and may be made again elsewhere: --retry. What it must not write then needs a fence as well:
FENCELINE_TOKEN grows from run to run.

SIGINT and SIGTERM are passed on to a command that runs, and end fenceline once it has ended; no more ticks are claimed.

Environment of the command:
  FENCELINE_JOB        NAME
  FENCELINE_SCHEDULED  the tick's time (RFC 3339), in --timezone
  FENCELINE_ATTEMPT    1, and one more with each --retry
  FENCELINE_TOKEN      fencing token of this run
  FENCELINE_ENDPOINTS  etcd's endpoints

Exit codes:
  126, 127  the command cannot be run, is not found
  64        wrong command line
  69        etcd cannot be reached at the start, or refuses
  130, 143  ended by SIGINT, SIGTERM`

func newCronCommand(g *globals) *cobra.Command {
	f := &cronFlags{}
	cmd := &cobra.Command{
		Use:                   "cron --job NAME=SCHEDULE [flags] -- COMMAND [ARG...]",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command at each tick of a schedule, once in all of the cluster",
		Long:                  cronHelp,
		Example: `  fenceline cron --job 'reindex=@every 1m' -- ./reindex
  fenceline cron --job 'report=30 6 * * 1-5' --timezone Europe/Berlin --retry 2 -- ./report.sh
  fenceline cron --job 'bill=@daily' --missed all --late 48h -- ./bill
  fenceline cron ls`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd, args); err != nil {
				return err
			}
			return runCron(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.addTo(flags, "claim")
	flags.StringArrayVar(&f.jobs, "job", nil, "`NAME=SCHEDULE` of the job; required, and one for each process")
	flags.StringVar(&f.zone, "timezone", "UTC", "time `zone` of the schedule, such as Europe/Berlin")
	flags.StringVar(&f.missed, "missed", "skip", "what `becomes` of ticks that came while nobody was there to run them: skip, once (the newest is run), all")
	flags.Var(&f.late, "late", "how many `seconds` after its time a missed tick may be run; required by --missed once and all")
	flags.IntVar(&f.retry, "retry", 0, "run a tick again up to this `many` times, here or elsewhere, when its run failed")
	flags.BoolVar(&f.verbose, "verbose", false, "say of each run how it ended")
	flags.Lookup("late").DefValue = ""
	cmd.AddCommand(newCronLsCommand(g), newCronHistoryCommand(g))
	return cmd
}

var missedTicks = map[string]cron.Missed{"skip": cron.Skip, "once": cron.RunOnce, "all": cron.RunAll}

// parse names what cannot be, before anything is asked of etcd.
func (f *cronFlags) parse(cmd *cobra.Command, args []string) (err error) {
	given := cmd.Flags().Changed
	switch {
	case len(args) > 0 && cmd.ArgsLenAtDash() != 0:
		return usageErrorf("%q: it is neither ls nor history; COMMAND comes behind --", args[0])
	case !given("job"):
		return usageErrorf("--job is missing: NAME=SCHEDULE, such as 'reindex=@every 1m'")
	case len(f.jobs) > 1:
		return usageErrorf("--job %q, --job %q: a process runs one job; start one for each", f.jobs[0], f.jobs[1])
	}
	f.job, f.command = f.jobs[0], args
	ok := false
	if f.name, f.schedule, ok = strings.Cut(f.job, "="); !ok {
		return usageErrorf("--job %q: it is not NAME=SCHEDULE, such as 'reindex=@every 1m'", f.job)
	}
	if err := keyspace.CheckName("job", f.name); err != nil {
		return usageErrorf("--job %q: %w", f.job, err)
	}
	if err := checkSchedule(f.schedule); err != nil {
		return usageErrorf("--job %q: schedule %q: %w", f.job, f.schedule, err)
	}
	if f.location, err = time.LoadLocation(f.zone); err != nil || f.location == time.Local || f.zone == "" {
		return usageErrorf("--timezone %q: it is not the name of a time zone, such as UTC or Europe/Berlin", f.zone)
	}
	policy, known := missedTicks[f.missed]
	switch {
	case !known:
		return usageErrorf("--missed %q: it is none of skip, once, all", f.missed)
	case policy == cron.Skip && given("late"):
		return usageErrorf("--late %v: --missed skip runs no tick late", f.late)
	case policy != cron.Skip && f.late <= 0:
		return usageErrorf("--missed %s needs --late: how long after its time a tick may be run, 1h say", f.missed)
	case f.retry < 0:
		return usageErrorf("--retry %d: it is negative", f.retry)
	}
	return f.check(given, "claim", fmt.Sprintf("as job %q", f.name))
}

// checkSchedule says why package cron will not take a schedule. That would ask for a session first.
func checkSchedule(text string) error {
	text = strings.Join(strings.Fields(text), " ")
	switch every, isEvery := strings.CutPrefix(text, "@every "); {
	case text == "":
		return errors.New("it is empty")
	case isEvery:
		d, err := time.ParseDuration(every)
		if err != nil || d < time.Second || d%time.Second != 0 {
			return errors.New("@every wants a duration of at least one second, in whole seconds, such as 90s or 1h30m")
		}
		return nil
	case strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ="):
		return errors.New("the time zone is a flag: --timezone")
	}
	schedule, err := spec.ParseStandard(text)
	if err != nil {
		return fmt.Errorf("it is neither five fields nor a descriptor such as @hourly or @every 90s: %w", err)
	}
	if schedule.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return errors.New("that day never comes")
	}
	return nil
}

func (f *cronFlags) options() []cron.Option {
	return []cron.Option{cron.In(f.location), cron.OnMissed(missedTicks[f.missed], time.Duration(f.late)), cron.Retry(f.retry)}
}
