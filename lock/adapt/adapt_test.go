package adapt_test

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/lock/adapt"
	"github.com/fenceline/fenceline/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a session of its own process, as it were.
func open(t testing.TB, client *clientv3.Client, opts ...session.Option) *session.Session {
	t.Helper()
	s, err := session.Open(t.Context(), client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%v, want %v", err, target)
	}
}

func acquire(t testing.TB, s *session.Session, name string) *lock.Lock {
	t.Helper()
	l, err := lock.New(s, name).Acquire(t.Context())
	must(t, err)
	return l
}

func queued(t testing.TB, client *clientv3.Client, name string, n int) {
	t.Helper()
	etcdtest.Eventually(t, 5*time.Second, "entries in line", func() bool {
		return len(etcdtest.Keys(t, client, "fenceline/lock/"+name+"/")) == n
	})
}

// lose ends s's lease, and all that hangs on it, as etcd does to a process that was away for too long.
func lose(t testing.TB, s *session.Session) {
	t.Helper()
	lease := s.Lease()
	_, err := s.Client().Revoke(t.Context(), lease)
	must(t, err)
	etcdtest.Eventually(t, 5*time.Second, "the next lease", func() bool {
		return s.Lease() != lease && s.Lease() != clientv3.NoLease
	})
}

func TestNothingIsImportedButTheStandardLibraryAndThisModule(t *testing.T) {
	files, err := os.ReadDir(".")
	must(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		must(t, err)
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			must(t, err)
			if domain, _, _ := strings.Cut(path, "/"); strings.Contains(domain, ".") && !strings.HasPrefix(path, "github.com/fenceline/fenceline/") {
				t.Errorf("%s imports %s", f.Name(), path)
			}
		}
	}
}

// takers are the calls that take a lock, of all the shapes.
func takers(s *session.Session, name string, opts ...lock.Option) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Gocron": func(ctx context.Context) error {
			_, err := adapt.Gocron[unlocker](s, opts...).Lock(ctx, name)
			return err
		},
		"Cron": func(context.Context) (told error) {
			adapt.CronFunc(s, name, func(context.Context) {}, func(err error) { told = err }, opts...).Run()
			return told
		},
		"Certmagic": func(ctx context.Context) error { return adapt.Certmagic(s, opts...).Lock(ctx, name) },
		"Certmagic, try": func(ctx context.Context) error {
			_, err := adapt.Certmagic(s, opts...).TryLock(ctx, name)
			return err
		},
		"Goose": func(ctx context.Context) error { return adapt.Goose(s, name, opts...).Lock(ctx, nil) },
	}
}

func TestInvalidNamesAndOptionsCostNoRequest(t *testing.T) {
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	s := open(t, p.Client(t))
	p.Blackhole() // a request would wait
	defer p.Heal()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for what, take := range takers(s, strings.Repeat("x", 600)) {
		if err := take(ctx); !errors.Is(err, session.ErrInvalidName) || !strings.Contains(err.Error(), "600 bytes") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, take := range takers(s, "a", lock.WithHandoffs(-1)) {
		if err := take(ctx); err == nil || !strings.Contains(err.Error(), "WithHandoffs(-1)") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A scheduler whose clock is behind asks for a tick that has been run already.
func TestMinHoldKeepsAShortJobFromBeingRunAgain(t *testing.T) {
	client := etcdtest.Shared(t).Client(t)
	s, late := open(t, client), open(t, client)
	hour := lock.WithMinHold(time.Hour)

	name := etcdtest.Name(t)
	l, err := adapt.Gocron[unlocker](s, hour).Lock(t.Context(), name)
	must(t, err)
	must(t, l.Unlock(t.Context()))
	_, err = adapt.Gocron[unlocker](late, hour).Lock(t.Context(), name)
	want(t, err, lock.ErrHeld)

	name = etcdtest.Name(t)
	ran := false
	adapt.CronFunc(s, name, func(context.Context) { ran = true }, nil, hour).Run()
	var r reports
	adapt.CronFunc(late, name, func(context.Context) { t.Error("run again") }, r.add, hour).Run()
	want(t, r.only(t), lock.ErrHeld)
	if !ran {
		t.Error("it never ran")
	}
}

// The answer takes longer than package lock waits for it once a ctx has ended.
func TestUnlockIsConfirmedThoughItsContextHasEnded(t *testing.T) {
	m := etcdtest.Shared(t)
	p := etcdtest.NewProxy(t, m)
	s := open(t, p.Client(t))
	ctx, cancel := context.WithCancel(t.Context())
	g, gname := adapt.Gocron[unlocker](s), etcdtest.Name(t)
	gl, err := g.Lock(ctx, gname)
	must(t, err)
	c, cname := adapt.Certmagic(s), etcdtest.Name(t)
	must(t, c.Lock(ctx, cname))
	o, oname := adapt.Goose(s, etcdtest.Name(t)), etcdtest.Name(t)
	must(t, o.Lock(ctx, nil))
	cancel()

	p.Delay(150 * time.Millisecond)
	defer p.Heal()
	must(t, gl.Unlock(ctx))
	must(t, c.Unlock(ctx, cname))
	must(t, o.Unlock(ctx, nil))
	for _, name := range []string{gname, cname, oname} {
		if keys := etcdtest.Keys(t, m.Client(t), "fenceline/lock/"+name+"/"); len(keys) > 0 {
			t.Errorf("left: %q", keys)
		}
	}
}

func TestUnlockGivesUpOnAnEtcdThatIsAway(t *testing.T) {
	t.Parallel()
	p := etcdtest.NewProxy(t, etcdtest.Shared(t))
	c, name := adapt.Certmagic(open(t, p.Client(t), session.WithTTL(30*time.Second))), etcdtest.Name(t)
	must(t, c.Lock(t.Context(), name))
	p.Blackhole()
	defer p.Heal()
	began := time.Now()
	want(t, c.Unlock(t.Context(), name), context.DeadlineExceeded)
	if took := time.Since(began); took > adapt.ReleaseTimeout+2*time.Second {
		t.Errorf("after %v", took)
	}
}
