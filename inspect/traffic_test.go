package inspect_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/semaphore"
)

func TestTrafficCountsWhoComesAndGoes(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		l := held(t, lock.New(etcd.Session(t), "x"))
		waits(t, lock.New(etcd.Session(t), "x"))
		var looks []*inspect.Traffic
		for look, err := range inspect.Follow(t.Context(), client, 2*time.Second) {
			if err != nil {
				t.Fatal(err)
			}
			looks = append(looks, look)
			if len(looks) == 1 {
				held(t, lock.New(etcd.Session(t), "y"))
				for range 3 {
					busy := held(t, lock.New(etcd.Session(t), "z"))
					if err := busy.Release(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := semaphore.New(etcd.Session(t), "s", 2).Acquire(t.Context(), 1); err != nil { // stores a limit, which is nobody's entry
					t.Fatal(err)
				}
				if err := l.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if len(looks) == 3 {
				break
			}
		}
		got := ""
		for i, look := range looks {
			for _, l := range look.Lines {
				n, since := l.Waiting()
				got += strings.TrimSpace(strings.Join([]string{string(rune('0' + i)), l.Kind, l.Name, string(rune('0' + l.Come)), string(rune('0' + l.Gone)), string(rune('0' + n))}, " "))
				if !since.IsZero() {
					got += " since"
				}
				got += "\n"
			}
		}
		const want = "0 lock x 0 0 1\n" +
			"1 lock x 0 1 0\n1 lock y 1 0 0\n1 semaphore s 1 0 0\n1 lock z 3 3 0\n" +
			"2 lock x 0 0 0\n2 lock y 0 0 0\n2 semaphore s 0 0 0\n"
		if got != want {
			t.Errorf("look, line, came, went, waits:\n%swant\n%s", got, want)
		}
		if looks[0].Over != 0 || looks[2].Over.Round(time.Second) != 2*time.Second {
			t.Errorf("over %v and %v", looks[0].Over, looks[2].Over)
		}
	})
}

func TestTrafficGoesOnWhenEtcdIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n, failed := 0, 0
		for look, err := range inspect.Follow(ctx, client, time.Second) {
			switch {
			case err != nil:
				failed++
				etcd.Resume()
			case n == 0:
				n++
				etcd.Stop()
			case failed > 0 && look != nil:
				return
			}
		}
		t.Errorf("nothing after %d failures", failed)
	})
}

func TestWhereKeepsWhatIsAskedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		held(t, lock.New(etcd.Session(t), "x"))
		waits(t, lock.New(etcd.Session(t), "x"))
		held(t, lock.New(etcd.Session(t), "y"))
		s := read(t, etcd)
		some := s.Where(func(_ *inspect.Line, e *inspect.Entry) bool { return e.State == inspect.Waits })
		if len(some.Lines) != 1 || len(some.Lines[0].Entries) != 1 || some.Lines[0].Entries[0].Position != 2 {
			t.Errorf("\n%v", some)
		}
		if len(s.Lines) != 2 || len(s.Lines[0].Entries) != 2 {
			t.Errorf("the snapshot itself has changed:\n%v", s)
		}
	})
}

func TestWideTableHasTimesLeasesAndKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		client := etcd.Client(t)
		l := held(t, lock.New(etcd.Session(t), "x"))
		if _, err := election.New(etcd.Session(t), "y").Campaign(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Put(t.Context(), "fenceline/lock/x/stranger", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s := read(t, etcd)
		left, err := inspect.LeasesLeft(t.Context(), client, s)
		if err != nil || left[l.Lease()] < 10*time.Second || left[l.Lease()] > 15*time.Second {
			t.Errorf("%v, %v", left, err)
		}
		header, rows := s.Wide(left)
		if want := "KIND NAME POS STATE WAITS SINCE HOLDS SINCE LEASE LEFT TOKEN WHO KEY"; strings.Join(header, " ") != want {
			t.Errorf("%q, want %q", header, want)
		}
		if row := strings.Join(rows[2], " "); !strings.Contains(row, "no lease") || !strings.HasSuffix(row, "fenceline/lock/x/stranger") {
			t.Errorf("the stranger's row: %q", row)
		}
		if _, err := client.Revoke(t.Context(), l.Lease()); err != nil {
			t.Fatal(err)
		}
		if left, err := inspect.LeasesLeft(t.Context(), client, s); err != nil || left[l.Lease()] >= 0 {
			t.Errorf("of a lease that is gone: %v, %v", left[clientv3.LeaseID(l.Lease())], err)
		}
	})
}

func TestNamesAreThoseThatBeginSo(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		for _, name := range []string{"b", "a/1", "a/2", "a/1"} {
			lock.New(s, name).TryAcquire(t.Context())
		}
		for begin, want := range map[string]string{"": "a/1 a/2 b", "a/": "a/1 a/2", "c": ""} {
			if names, err := inspect.Names(t.Context(), etcd.Client(t), inspect.Lock, begin); err != nil || strings.Join(names, " ") != want {
				t.Errorf("%q: %q, %v, want %q", begin, names, err, want)
			}
		}
	})
}

func TestSnapshotHasJobsAndServicesAtItsRevision(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		ctx, cancel := context.WithCancel(t.Context())
		jobs := cron.New(etcd.Session(t))
		if err := jobs.Add("sweep", "@every 10s", func(context.Context, cron.Tick) error { return nil }); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- jobs.Run(ctx) }()
		if _, err := registry.Register(t.Context(), etcd.Session(t), "web", registry.Instance{ID: "a", Addr: "10.0.0.5:80"}); err != nil {
			t.Fatal(err)
		}
		held(t, lock.New(etcd.Session(t), "x"))
		time.Sleep(25 * time.Second)
		s, err := inspect.Read(t.Context(), etcd.Client(t), inspect.WithServices("services"))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Lines) != 1 || len(s.Jobs) != 1 || len(s.Services["web"]) != 1 {
			t.Errorf("%d lines, jobs %+v, services %+v", len(s.Lines), s.Jobs, s.Services)
		}
		drawn := strings.Join(strings.Fields(s.String()), " ")
		for _, want := range []string{"lock x 1 holds", "JOB SCHEDULE LAST NEXT STATE sweep @every 10s 2000-01-01T00:00:20Z 2000-01-01T00:00:30Z waits", "SERVICE INSTANCE ADDR STATUS web a 10.0.0.5:80 up"} {
			if !strings.Contains(drawn, want) {
				t.Errorf("it lacks %q:\n%v", want, s)
			}
		}
		if part, err := inspect.Read(t.Context(), etcd.Client(t), inspect.WithKind(inspect.Lock)); err != nil || part.Jobs != nil || part.Services != nil {
			t.Errorf("of one kind: %+v, %v", part, err)
		}
		cancel()
		<-done
	})
}
