// Package cron is "fenceline cron" and its verbs.
package cron

import (
	_ "time/tzdata" // a machine without zones must not mean another time

	"github.com/spf13/cobra"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/underhold"
)

// cronFlags is what the command line says about jobs and their commands.
type cronFlags struct {
	underhold.Flags
	one    []string // NAME=SCHEDULE, as given
	file   string
	most   int
	common JobFlags
	jobs   []*cronJob
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

Several jobs in one process: --jobs FILE, with a line for each, words as in a shell, no variables, # begins a comment. What
the command line says of all, a line may say of its own:
  reindex=@every 1m -- ./reindex
  report=30 6 * * 1-5 --timezone Europe/Berlin --retry 2 -- sh -c './report | mail -s report ops'

What is to be known is said on stderr: ticks that were missed, and why a job is not run here. 'fenceline cron ls' shows
all jobs, 'fenceline cron run NAME' has a process that has the job run it now; pause, resume and rm do what they say.

Exit codes:
  126, 127  a command cannot be run, is not found
  64        wrong command line, or file
  69        etcd cannot be reached at the start, or refuses; or what it has of the only job cannot be read
  130, 143  ended by SIGINT, SIGTERM`

func NewCommand(g *app.Globals) *cobra.Command {
	f := &cronFlags{}
	cmd := &cobra.Command{
		Use:                   "cron {--job NAME=SCHEDULE [flags] -- COMMAND [ARG...] | --jobs FILE [flags]}",
		DisableFlagsInUseLine: true,
		Short:                 "Run a command at each tick of a schedule, once in the fleet",
		Long:                  cronHelp,
		Example: `  fenceline cron --job 'reindex=@every 1m' -- ./reindex
  fenceline cron --job 'report=30 6 * * 1-5' --timezone Europe/Berlin --retry 2 -- ./report.sh
  fenceline cron --job 'bill=@daily' --missed all --late 48h --timeout 1h -- ./bill
  fenceline cron --jobs /etc/fenceline/jobs --max-running 4
  fenceline cron ls`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(cmd, args); err != nil {
				return err
			}
			return runCron(cmd.Context(), g, f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	f.AddTo(flags, "claim")
	flags.StringArrayVar(&f.one, "job", nil, "`NAME=SCHEDULE` of the only job")
	flags.StringVar(&f.file, "jobs", "", "`FILE` with a job in each line")
	flags.IntVar(&f.most, "max-running", 0, "run at most `N` commands at a time in this process; 0: no bound")
	flags.BoolVar(&f.Verbose, "verbose", false, "say of each run how it ended")
	f.common.addTo(flags)
	cmd.AddCommand(newCronLsCommand(g), newCronHistoryCommand(g), newCronRunCommand(g), newCronPauseCommand(g), newCronResumeCommand(g),
		newCronRmCommand(g))
	return cmd
}

// parse names what cannot be, before anything is asked of etcd.
func (f *cronFlags) parse(cmd *cobra.Command, args []string) (err error) {
	given := cmd.Flags().Changed
	switch {
	case len(args) > 0 && cmd.ArgsLenAtDash() != 0:
		return app.UsageErrorf("%q: it is none of ls, history, run, pause, resume, rm; COMMAND comes behind --", args[0])
	case given("job") && given("jobs"):
		return app.UsageErrorf("--job and --jobs: one or the other")
	case given("jobs") && len(args) > 0:
		return app.UsageErrorf("%q: with --jobs, the commands stand in the file", args[0])
	case given("jobs"):
		f.jobs, err = ReadJobs(f.file, f.common)
	case !given("job"):
		return app.UsageErrorf("--job is missing: NAME=SCHEDULE, such as 'reindex=@every 1m'")
	case len(f.one) > 1:
		return app.UsageErrorf("--job %q, --job %q: with --job a process runs one job; --jobs takes a file with several", f.one[0], f.one[1])
	default:
		j := &cronJob{JobFlags: f.common}
		f.jobs = []*cronJob{j}
		if err = j.parse("--job ", f.one[0], given); err == nil && (len(args) == 0 || args[0] == "") {
			err = app.UsageErrorf("COMMAND is missing: nothing to run as job %q", j.Name)
		}
		j.Command = args
	}
	switch {
	case err != nil:
		return err
	case f.most < 0:
		return app.UsageErrorf("--max-running %d: it is negative", f.most)
	}
	f.Command = f.jobs[0].Command
	if len(f.jobs) > 1 {
		f.Program = "fenceline-cron"
	}
	return f.Check(given, "claim", "")
}
