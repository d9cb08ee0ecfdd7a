package cron

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/internal/keyspace"
)

// JobFlags is what the command line, or a line of a file, says about how a job is run.
type JobFlags struct {
	Zone         string
	Missed       string
	late         app.Seconds
	most, Retry  int
	timeout      app.Seconds
	jitter       app.Seconds
	location     *time.Location
	overlap      bool
	lateGiven    bool
	timeoutGiven bool
	mostGiven    bool
}

// cronJob is one job and its command.
type cronJob struct {
	JobFlags
	Name, Schedule string
	Command        []string
	path           string // of the command
}

func (f *JobFlags) addTo(flags *pflag.FlagSet) {
	if f.Zone == "" {
		f.Zone, f.Missed = "UTC", "skip"
	}
	flags.StringVar(&f.Zone, "timezone", f.Zone, "time `zone` of the schedule, such as Europe/Berlin")
	flags.StringVar(&f.Missed, "missed", f.Missed, "`policy` for ticks that nobody ran in time: skip (run none of them), once (the newest), all")
	flags.Var(&f.late, "late", "`seconds` after its time within which a missed tick may still be run; --missed once and all need it")
	flags.IntVar(&f.most, "max-missed", f.most, "--missed all runs at most the `N` newest")
	flags.IntVar(&f.Retry, "retry", f.Retry, "run a tick again up to `N` times, here or elsewhere, if its run failed")
	flags.Var(&f.timeout, "timeout", "end a run that takes longer than this many `seconds`; it then counts as failed")
	flags.Var(&f.jitter, "jitter", "delay each tick by up to this many `seconds`, the same in every process")
	flags.BoolVar(&f.overlap, "overlap", f.overlap, "start a tick while an earlier one of the job still runs")
	for _, name := range []string{"late", "timeout", "jitter"} {
		flags.Lookup(name).DefValue = ""
	}
}

var missedTicks = map[string]cron.Missed{"skip": cron.Skip, "once": cron.RunOnce, "all": cron.RunAll}

// parse reads NAME=SCHEDULE and checks the flags. where is what stands before it in a message.
func (j *cronJob) parse(where, text string, given func(string) bool) (err error) {
	ok := false
	if j.Name, j.Schedule, ok = strings.Cut(text, "="); !ok {
		return app.UsageErrorf("%s%q: it is not NAME=SCHEDULE, such as 'reindex=@every 1m'", where, text)
	}
	if err := keyspace.CheckName("job", j.Name); err != nil {
		return app.UsageErrorf("%s%q: %w", where, text, err)
	}
	if err := cron.CheckSchedule(j.Schedule); err != nil {
		return app.UsageErrorf("%s%q: %w", where, text, err)
	}
	if j.location, err = time.LoadLocation(j.Zone); err != nil || j.location == time.Local || j.Zone == "" {
		return app.UsageErrorf("--timezone %q: it is not the name of a time zone, such as UTC or Europe/Berlin", j.Zone)
	}
	j.lateGiven, j.timeoutGiven, j.mostGiven = j.lateGiven || given("late"), j.timeoutGiven || given("timeout"), j.mostGiven || given("max-missed")
	policy, known := missedTicks[j.Missed]
	switch {
	case !known:
		return app.UsageErrorf("--missed %q: it is none of skip, once, all", j.Missed)
	case policy == cron.Skip && j.lateGiven:
		return app.UsageErrorf("--late %v: --missed skip runs no tick late", j.late)
	case policy != cron.Skip && j.late <= 0:
		return app.UsageErrorf("--missed %s needs --late: how long after its time a tick may be run, 1h say", j.Missed)
	case j.mostGiven && policy != cron.RunAll:
		return app.UsageErrorf("--max-missed %d: only --missed all makes several good", j.most)
	case j.mostGiven && j.most <= 0:
		return app.UsageErrorf("--max-missed %d: it is not positive", j.most)
	case j.timeoutGiven && j.timeout <= 0:
		return app.UsageErrorf("--timeout %v: it is not positive", j.timeout)
	case j.Retry < 0:
		return app.UsageErrorf("--retry %d: it is negative", j.Retry)
	}
	return nil
}

func (j *cronJob) options() []cron.Option {
	options := []cron.Option{cron.WithLocation(j.location), cron.WithMissed(missedTicks[j.Missed], time.Duration(j.late)), cron.WithRetries(j.Retry),
		cron.WithJitter(time.Duration(j.jitter))}
	if j.timeoutGiven {
		options = append(options, cron.WithTimeout(time.Duration(j.timeout)))
	}
	if j.mostGiven {
		options = append(options, cron.WithMaxMissed(j.most))
	}
	if j.overlap {
		options = append(options, cron.WithOverlap())
	}
	return options
}

// ReadJobs reads a file with a job in each line. An error names the line.
func ReadJobs(path string, common JobFlags) (jobs []*cronJob, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, app.UsageErrorf("--jobs: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		j, err := ReadJob(text, common)
		if err == nil && slices.ContainsFunc(jobs, func(other *cronJob) bool { return other.Name == j.Name }) {
			err = fmt.Errorf("job %q stands there twice", j.Name)
		}
		if err != nil {
			return nil, app.UsageErrorf("%s:%d: %w", path, n, err)
		}
		jobs = append(jobs, j)
	}
	switch err := lines.Err(); {
	case err != nil:
		return nil, app.UsageErrorf("--jobs %s: %w", path, err)
	case len(jobs) == 0:
		return nil, app.UsageErrorf("--jobs %s: no job stands in it", path)
	}
	return jobs, nil
}

// ReadJob reads NAME=SCHEDULE [flags] -- COMMAND [ARG...].
func ReadJob(text string, common JobFlags) (*cronJob, error) {
	parser := shellwords.NewParser()
	parser.ParseComment = true
	words, err := parser.Parse(text)
	if err != nil {
		return nil, err
	}
	if parser.Position > 0 && parser.Position < len(text) {
		return nil, fmt.Errorf("%q is for a shell to read: quote it, and run sh -c", text[parser.Position:])
	}
	dashes := slices.Index(words, "--")
	if dashes < 0 || dashes == len(words)-1 {
		return nil, fmt.Errorf("-- COMMAND is missing behind NAME=SCHEDULE")
	}
	j := &cronJob{JobFlags: common, Command: words[dashes+1:]}
	words = words[:dashes]
	spec := len(words)
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") }); i >= 0 {
		spec = i
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Usage = func() {}
	j.addTo(flags)
	if err := flags.Parse(words[spec:]); err != nil {
		return nil, app.FlagError(err)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q: what is that?", flags.Arg(0))
	}
	return j, j.parse("", strings.Join(words[:spec], " "), flags.Changed)
}
