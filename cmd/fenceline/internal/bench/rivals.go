package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/bench/rival"
	"github.com/fenceline/fenceline/bench/rival/postgres"
	"github.com/fenceline/fenceline/bench/rival/redis"
	"github.com/fenceline/fenceline/bench/rival/zookeeper"
	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
)

const rivalTimeout = 30 * time.Second

// rivalAddresses is where rivals are.
type rivalAddresses struct {
	Redis     []string   // host:port
	Postgres  []string   // URLs
	ZooKeeper [][]string // members, host:port
}

// connect makes a subject of each. It stops at the first that cannot be reached.
func (a *rivalAddresses) connect(ctx context.Context) (subjects []bench.Subject, err error) {
	add := func(what string, connect func(context.Context) (bench.Subject, error)) {
		if err != nil {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, rivalTimeout)
		defer cancel()
		s, failed := connect(bounded)
		if failed != nil {
			err = app.UnavailableErrorf("cannot reach %s: %w", what, failed)
			return
		}
		subjects = append(subjects, s)
	}
	for _, members := range a.ZooKeeper {
		add("ZooKeeper at "+strings.Join(members, ","), func(ctx context.Context) (bench.Subject, error) { return zookeeper.New(ctx, members...) })
	}
	for _, addr := range a.Redis {
		add("Redis at "+addr, func(ctx context.Context) (bench.Subject, error) { return redis.New(ctx, addr) })
	}
	for _, address := range a.Postgres {
		where := "" // but not with which password
		if u, err := url.Parse(address); err == nil {
			where = " at " + u.Host
		}
		add("PostgreSQL"+where, func(ctx context.Context) (bench.Subject, error) { return postgres.New(ctx, address) })
	}
	return subjects, err
}

// RivalFlags are locks on something else than etcd, to be measured as well.
type RivalFlags struct {
	redis, postgres string
	zookeeper       []string
	Start           string // none or auto
}

const rivalsHelp = `
With --redis, --postgres or --zookeeper the usual lock there is measured as well; --rivals auto starts those servers
that are installed, on loopback and in temporary directories, and ends them. A row is named after how durable its server
is: what memory alone has is gone when that one machine is. They are measured beside the --subjects; where those name rivals,
only these are.
`

func (f *RivalFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.redis, "redis", "", "`host:port` of a Redis, for redsync")
	flags.StringVar(&f.postgres, "postgres", "", "`url` of a PostgreSQL, for its advisory lock: postgres://user@host/database")
	flags.StringSliceVar(&f.zookeeper, "zookeeper", nil, "`host:port` of members of a ZooKeeper, for its lock")
	flags.StringVar(&f.Start, "rivals", "none", "`which` servers of rivals to start: none, or auto for those that are installed")
}

func (f *RivalFlags) check() error {
	if f.Start != "none" && f.Start != "auto" {
		return app.UsageErrorf("--rivals %q: it is neither none nor auto", f.Start)
	}
	for flag, addrs := range map[string][]string{"redis": {f.redis}, "zookeeper": f.zookeeper} {
		for _, addr := range addrs {
			if _, port, err := net.SplitHostPort(addr); addr != "" && (err != nil || port == "") {
				return app.UsageErrorf("--%s %q: want host:port", flag, addr)
			}
		}
	}
	if u, err := url.Parse(f.postgres); f.postgres != "" && (err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return app.UsageErrorf("--postgres: want a URL such as postgres://user@host/database") // it may have a password
	}
	return nil
}

// open returns the subjects, and where they are, and ends what it has started with stop.
func (f *RivalFlags) open(ctx context.Context, say func(string)) (subjects []bench.Subject, at rivalAddresses, stop func() error, err error) {
	var servers []*rival.Server
	stop = func() (err error) {
		for _, s := range servers {
			err = errors.Join(err, s.Close())
		}
		return err
	}
	if f.redis != "" {
		at.Redis = append(at.Redis, f.redis)
	}
	if f.postgres != "" {
		at.Postgres = append(at.Postgres, f.postgres)
	}
	if len(f.zookeeper) > 0 {
		at.ZooKeeper = append(at.ZooKeeper, f.zookeeper)
	}
	if f.Start == "auto" {
		for _, r := range installable {
			if !r.installed() {
				continue
			}
			s, err := r.start(ctx)
			if err != nil {
				return nil, at, nil, errors.Join(app.UnavailableErrorf("cannot start %s: %w", r.name, err), stop())
			}
			servers = append(servers, s)
			say(fmt.Sprintf("Started %s at %s.", r.name, s.Addr))
			r.at(&at, s)
		}
		if len(servers) == 0 {
			say("None of redis-server, PostgreSQL and ZooKeeper is installed here.")
		}
	}
	if subjects, err = at.connect(ctx); err != nil {
		return nil, at, nil, errors.Join(err, stop())
	}
	return subjects, at, stop, nil
}

// installable are the servers that --rivals auto starts.
var installable = []struct {
	name      string
	installed func() bool
	start     func(context.Context) (*rival.Server, error)
	at        func(*rivalAddresses, *rival.Server)
}{
	{"a ZooKeeper", zookeeper.Installed, zookeeper.Start,
		func(a *rivalAddresses, s *rival.Server) { a.ZooKeeper = append(a.ZooKeeper, []string{s.Addr}) }},
	{"a Redis that writes to the disk", redis.Installed, func(ctx context.Context) (*rival.Server, error) { return redis.Start(ctx, true) },
		func(a *rivalAddresses, s *rival.Server) { a.Redis = append(a.Redis, s.Addr) }},
	{"a Redis in memory", redis.Installed, func(ctx context.Context) (*rival.Server, error) { return redis.Start(ctx, false) },
		func(a *rivalAddresses, s *rival.Server) { a.Redis = append(a.Redis, s.Addr) }},
	{"a PostgreSQL", postgres.Installed, postgres.Start,
		func(a *rivalAddresses, s *rival.Server) { a.Postgres = append(a.Postgres, postgres.URL(s)) }},
}

// asked says whether any rival is.
func (f *RivalFlags) asked() bool {
	return f.Start == "auto" || f.redis != "" || f.postgres != "" || len(f.zookeeper) > 0
}

// known makes the subjects that are named, but for rivals, whose names show when they are connected.
func (f *Flags) known(w bench.Workload) ([]bench.Subject, error) {
	var names []string
	for _, name := range f.Subjects {
		if w.Subjects[name] != nil || !f.Rivals.asked() {
			names = append(names, name)
		}
	}
	if len(f.Subjects) > 0 && len(names) == 0 {
		return nil, app.UsageErrorf("--subjects names no lock on etcd, want one of %s as well", strings.Join(w.Subjects.Names(), ", "))
	}
	subjects, err := w.Subjects.ByName(names...)
	if err != nil {
		return nil, app.UsageErrorf("%w; those on other servers come with --rivals, --redis, --postgres and --zookeeper", err)
	}
	return subjects, nil
}

// Chosen are subjects and rivals in the order of --subjects, if that names any rival. Else all rivals are beside them.
func (f *Flags) Chosen(subjects, rivals []bench.Subject) ([]bench.Subject, error) {
	if len(subjects) == len(f.Subjects) {
		return Beside(subjects, rivals), nil
	}
	var chosen []bench.Subject
	all := slices.Concat(subjects, rivals)
	for _, name := range f.Subjects {
		i := slices.IndexFunc(all, func(s bench.Subject) bool { return s.Name() == name })
		if i < 0 {
			var names []string
			for _, r := range rivals {
				names = append(names, r.Name())
			}
			return nil, app.UsageErrorf("--subjects %s: it is neither a lock on etcd nor one of %s", name, strings.Join(names, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// Beside puts rivals before the last subject, to which the ratios are.
func Beside(subjects, rivals []bench.Subject) []bench.Subject {
	return slices.Insert(slices.Clone(subjects), max(len(subjects)-1, 0), rivals...)
}

// withRivals adds their help.
func withRivals(long string) string {
	before, after, _ := strings.Cut(long, "\nExit codes:")
	return before + rivalsHelp + "\nExit codes:" + after
}
