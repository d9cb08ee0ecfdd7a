package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/fenceline/fenceline/cron"
	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/registry"
	"github.com/fenceline/fenceline/session"
)

// site is a dashboard in virtual time.
type site struct {
	t    *testing.T
	etcd *fencetest.Etcd
	h    http.Handler
	s    *server
}

func within(t *testing.T, change func(*server), f func(s *site)) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		client := etcd.Client(t)
		s := &server{client: client, mirror: newMirror(client, time.Second, "fenceline/", inspect.WithServices("services/")), namespace: "fenceline/", say: func(string, ...any) {}}
		if change != nil {
			change(s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.mirror.run(ctx, func() {}) }()
		synctest.Wait()
		f(&site{t, etcd, s.handler(), s})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w
}

// get asks for a page as a browser at http://localhost:8017 does.
func (s *site) get(path string) *httptest.ResponseRecorder {
	return s.ask(httptest.NewRequest(http.MethodGet, "http://localhost:8017/"+path, nil))
}

func (s *site) post(values map[string]string, header ...string) *httptest.ResponseRecorder {
	form := url.Values{}
	for k, v := range values {
		form.Set(k, v)
	}
	r := httptest.NewRequest(http.MethodPost, "http://localhost:8017/action", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return s.ask(r)
}

func (s *site) hold(name string) *lock.Lock {
	s.t.Helper()
	l, err := lock.New(s.etcd.Session(s.t), name).Acquire(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func TestEveryPageIsReadableWithoutAScriptAndHasATwin(t *testing.T) {
	within(t, nil, func(s *site) {
		session := s.etcd.Session(s.t)
		s.hold("orders")
		if _, err := election.New(session, "reports").Campaign(s.t.Context(), "secret-value"); err != nil {
			s.t.Fatal(err)
		}
		if _, err := registry.Register(s.t.Context(), session, "web", registry.Instance{Addr: "10.0.0.1:80", Meta: map[string]string{"key": "secret-value"}}); err != nil {
			s.t.Fatal(err)
		}
		c := cron.New(session)
		if err := c.Add("nightly", "@every 5s", func(context.Context, cron.Tick) error { return errors.New("no disk") }); err != nil {
			s.t.Fatal(err)
		}
		go func() { _ = c.Run(s.t.Context()) }()
		time.Sleep(12 * time.Second)
		for path, has := range map[string]string{
			"": "job has failed", "lines": "orders", "lines?kind=lock": "orders", "lines?match=ord": "orders", lineLink("lock", "orders"): "holds", "elections": "reports", "jobs": "nightly",
			link("job", "name", "nightly"): "no disk", "services": "web", link("service", "name", "web"): "10.0.0.1:80", "sessions": "reports", "graph": "",
		} {
			w := s.get(path)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), has) || !strings.Contains(w.Body.String(), "<h1>") {
				s.t.Errorf("%q: %d, no %q in %.500s", path, w.Code, has, w.Body)
			}
			if strings.Contains(w.Body.String(), "secret-value") {
				s.t.Errorf("%q shows a value", path)
			}
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			twin := s.get(path + separator + "format=json")
			var found struct {
				Revision int64
				View     map[string]any
			}
			if err := json.Unmarshal(twin.Body.Bytes(), &found); err != nil || found.Revision == 0 || len(found.View) == 0 || !strings.Contains(twin.Body.String(), has) {
				s.t.Errorf("%q: %v, %.500s", path, err, twin.Body)
			}
			if strings.Contains(twin.Body.String(), "secret-value") {
				s.t.Errorf("the twin of %q shows a value", path)
			}
			if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				s.t.Errorf("%q: CSP %q", path, csp)
			}
		}
		for path, want := range map[string]int{"nowhere": 404, lineLink("lock", "nothing"): 404, link("job", "name", "none"): 404, link("service", "name", "none"): 404, "nowhere?format=json": 404} {
			if w := s.get(path); w.Code != want {
				s.t.Errorf("%q: %d", path, w.Code)
			}
		}
		s.s.values = true
		for _, path := range []string{lineLink("election", "reports"), link("service", "name", "web")} {
			if !strings.Contains(s.get(path).Body.String(), "secret-value") {
				s.t.Errorf("%q does not show a value that is wanted", path)
			}
		}
	})
}

func TestNamesAreShownAsTheyAreAndLeadToTheirPages(t *testing.T) {
	within(t, nil, func(s *site) {
		names := []string{`<script>alert(1)</script>`, "a/b", "..", "a&b=c", "ä ö", "100%", `"quoted"`, "#"}
		for _, name := range names {
			s.hold(name)
		}
		time.Sleep(2 * time.Second)
		all := s.get("lines").Body.String()
		if strings.Contains(all, "<script>alert") {
			s.t.Error("a name is taken for a script")
		}
		for _, name := range names {
			w := s.get(lineLink("lock", name) + "&format=json")
			var found struct{ View struct{ Name string } }
			if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || found.View.Name != name {
				s.t.Errorf("%q: %v, %q", name, err, found.View.Name)
			}
		}
	})
}

func TestLostHoldsAndElectionsWithoutALeaderAreTrouble(t *testing.T) {
	within(t, nil, func(s *site) {
		session := s.etcd.Session(s.t)
		if _, err := lock.New(session, "orders").Acquire(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		if _, err := election.New(session, "reports").Campaign(s.t.Context(), ""); err != nil {
			s.t.Fatal(err)
		}
		closed := s.etcd.Session(s.t)
		if _, err := lock.New(closed, "fine").Acquire(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		s.get("")
		time.Sleep(3 * time.Second)
		if strings.Contains(s.get("").Body.String(), "hold lost") {
			s.t.Error("trouble where there is none")
		}
		if _, err := s.etcd.Client(s.t).Revoke(s.t.Context(), session.Lease()); err != nil {
			s.t.Fatal(err)
		}
		if err := closed.Close(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		text := s.get("").Body.String()
		for _, want := range []string{"hold lost", "lock orders", "no leader", "election reports"} {
			if !strings.Contains(text, want) {
				s.t.Errorf("no %q in %s", want, text)
			}
		}
		if strings.Contains(text, "lock fine") {
			s.t.Error("what was given back with its session is called lost")
		}
		time.Sleep(time.Hour + 20*time.Second)
		if strings.Contains(s.get("").Body.String(), "hold lost") {
			s.t.Error("it is still there after an hour")
		}
	})
}

func TestWhatThePageShowsWhileEtcdIsAwayIsTheLastLookAndThatItIsOld(t *testing.T) {
	within(t, nil, func(s *site) {
		s.hold("orders")
		time.Sleep(2 * time.Second)
		s.get("lines")
		if w := s.get("healthz"); w.Code != http.StatusOK {
			s.t.Errorf("%d", w.Code)
		}
		s.etcd.Decide(func(fencetest.Request) fencetest.Fate { return fencetest.Fate{Lost: true} })
		time.Sleep(30 * time.Second)
		w := s.get("lines")
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "orders") || !strings.Contains(w.Body.String(), "etcd cannot be read") {
			s.t.Errorf("%d: %s", w.Code, w.Body)
		}
		if w := s.get("healthz"); w.Code != http.StatusServiceUnavailable {
			s.t.Errorf("%d", w.Code)
		}
		s.etcd.Decide(nil)
		time.Sleep(15 * time.Second)
		if w := s.get("lines"); strings.Contains(w.Body.String(), "etcd cannot be read") {
			s.t.Error(w.Body)
		}
	})
}

func TestOnlyItsOwnNamesAndAddressesLeadToTheServer(t *testing.T) {
	within(t, func(s *server) { s.hosts = []string{"locks.example.org"} }, func(s *site) {
		for host, want := range map[string]int{"localhost:8017": 200, "127.0.0.1:8017": 200, "[::1]:8017": 200, "10.1.2.3": 200, "locks.example.org": 200, "LOCKS.example.org:443": 200,
			"evil.example.org": 421, "localhost.evil.example.org:8017": 421, "": 421} {
			r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
			r.Host = host
			if w := s.ask(r); w.Code != want {
				s.t.Errorf("%q: %d, want %d", host, w.Code, want)
			}
		}
	})
}

func TestWhoIsNotKnownSeesNothing(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	known, err := parseAccounts("# users\n\nann:" + string(hash) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	within(t, func(s *server) { s.auth = known }, func(s *site) {
		for _, path := range []string{"", "lines?format=json", "events", "assets/style.css", "action?do=run&name=x"} {
			if w := s.get(path); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				s.t.Errorf("%q: %d", path, w.Code)
			}
		}
		if w := s.get("healthz"); w.Code != http.StatusOK {
			s.t.Errorf("healthz: %d", w.Code)
		}
		for pair, want := range map[[2]string]int{{"ann", "right"}: 200, {"ann", "wrong"}: 401, {"bob", "right"}: 401, {"", ""}: 401} {
			for range 2 { // the second one is remembered
				r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
				r.SetBasicAuth(pair[0], pair[1])
				if w := s.ask(r); w.Code != want {
					s.t.Errorf("%v: %d", pair, w.Code)
				}
			}
		}
	})
	within(t, func(s *server) { s.header = "X-Forwarded-User" }, func(s *site) {
		if w := s.get(""); w.Code != http.StatusUnauthorized {
			s.t.Errorf("%d", w.Code)
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.Header.Set("X-Forwarded-User", "ann")
		if w := s.ask(r); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "ann") {
			s.t.Errorf("%d", w.Code)
		}
	})
	for text, want := range map[string]string{"": "no user", "ann": "name:hash", "ann:plain": "bcrypt", ":x": "name:hash"} {
		if _, err := parseAccounts(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNothingIsDoneUnlessActionsAreAllowed(t *testing.T) {
	within(t, nil, func(s *site) {
		l := s.hold("orders")
		time.Sleep(2 * time.Second)
		if strings.Contains(s.get(lineLink("lock", "orders")).Body.String(), "do=break") {
			s.t.Error("an action is offered")
		}
		if w := s.get("action?do=break&kind=lock&name=orders&token=" + l.Token().String()); w.Code != http.StatusForbidden {
			s.t.Errorf("%d", w.Code)
		}
		if w := s.post(map[string]string{"do": "break", "kind": "lock", "name": "orders", "token": l.Token().String(), "reason": "x"}); w.Code != http.StatusForbidden {
			s.t.Errorf("%d", w.Code)
		}
		time.Sleep(2 * time.Second)
		if l.Context().Err() != nil {
			s.t.Error("it was broken")
		}
	})
}

func TestActionComparesWhatWasShownAndComesFromThisPageAlone(t *testing.T) {
	within(t, func(s *server) { s.actions = true }, func(s *site) {
		l := s.hold("orders")
		time.Sleep(2 * time.Second)
		token := l.Token().String()
		of := func(change ...string) map[string]string {
			m := map[string]string{"do": "break", "kind": "lock", "name": "orders", "token": token, "reason": "its machine is off"}
			for i := 0; i < len(change); i += 2 {
				m[change[i]] = change[i+1]
			}
			return m
		}
		for _, test := range []struct {
			what   string
			form   map[string]string
			header []string
			want   int
		}{
			{"from another site", of(), []string{"Sec-Fetch-Site", "cross-site"}, 403},
			{"from another origin", of(), []string{"Origin", "http://evil.example.org"}, 403},
			{"with another token", of("token", "4096"), nil, 409},
			{"of another lock", of("name", "others"), nil, 409},
			{"without a reason", of("reason", " "), nil, 400},
			{"with too long a one", of("reason", strings.Repeat("x", 501)), nil, 400},
			{"unknown", of("do", "destroy"), nil, 404},
			{"of no job", of("do", "pause", "name", "none"), nil, 404},
		} {
			if w := s.post(test.form, test.header...); w.Code != test.want {
				s.t.Errorf("%s: %d, want %d: %s", test.what, w.Code, test.want, w.Body)
			}
		}
		time.Sleep(2 * time.Second)
		if l.Context().Err() != nil {
			s.t.Fatal("it was broken")
		}
		if w := s.post(of(), "Sec-Fetch-Site", "same-origin"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/"+lineLink("lock", "orders") && w.Header().Get("Location") != lineLink("lock", "orders") {
			s.t.Errorf("%d, %q: %s", w.Code, w.Header().Get("Location"), w.Body)
		}
		time.Sleep(2 * time.Second)
		var broken *session.BrokenError
		if cause := context.Cause(l.Context()); !errors.As(cause, &broken) || broken.Reason != "its machine is off" {
			s.t.Errorf("%v", cause)
		}
		asked := s.hold("asked")
		time.Sleep(2 * time.Second)
		if w := s.post(of("do", "release", "name", "asked", "token", asked.Token().String())); w.Code != http.StatusSeeOther {
			s.t.Errorf("%d: %s", w.Code, w.Body)
		}
		time.Sleep(2 * time.Second)
		select {
		case <-asked.Asked():
		default:
			s.t.Error("its holder was not asked")
		}
		if asked.Context().Err() != nil {
			s.t.Error("it was broken")
		}
	})
}

func TestJobsArePausedResumedAndRunFromThePage(t *testing.T) {
	within(t, func(s *server) { s.actions = true }, func(s *site) {
		runs := 0
		c := cron.New(s.etcd.Session(s.t))
		if err := c.Add("nightly", "0 3 * * *", func(context.Context, cron.Tick) error { runs++; return nil }); err != nil {
			s.t.Fatal(err)
		}
		go func() { _ = c.Run(s.t.Context()) }()
		time.Sleep(2 * time.Second)
		for _, do := range []string{"run", "pause", "resume"} {
			s.get("jobs")
			time.Sleep(3 * time.Second)
			if w := s.get(link("action", "do", do, "name", "nightly")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "nightly") {
				s.t.Errorf("%s: %d, %s", do, w.Code, w.Body)
			}
			if w := s.post(map[string]string{"do": do, "name": "nightly"}); w.Code != http.StatusSeeOther {
				s.t.Errorf("%s: %d, %s", do, w.Code, w.Body)
			}
			time.Sleep(3 * time.Second)
			if paused := strings.Contains(s.get("jobs").Body.String(), "paused"); paused != (do == "pause") {
				s.t.Errorf("after %s, it is paused: %v", do, paused)
			}
		}
		if runs != 1 {
			s.t.Errorf("%d runs", runs)
		}
		if w := s.post(map[string]string{"do": "resume", "name": "nightly"}); w.Code != http.StatusConflict {
			s.t.Errorf("%d", w.Code)
		}
	})
}

func TestTimelineHasGapsDeathsAndLanes(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return now.Add(time.Duration(s-100) * time.Second) }
	held := inferred([]inspect.Held{
		{Who: "a", Joined: 1, Entered: 1, Left: 5, EnteredAt: at(0), LeftAt: at(10), End: inspect.EndDied},
		{Who: "b", Joined: 7, Entered: 7, Left: 9, EnteredAt: at(50)}, // when it left, the next one tells
		{Who: "c", Joined: 8, Entered: 9, EnteredAt: at(80)},
	})
	line := drawTimeline(held, inspect.Lock, now)
	if len(line.Bars) != 3 || line.Lanes != 1 || len(line.Gaps) != 1 || line.Untimed != 0 {
		t.Fatalf("%+v", line)
	}
	if g := line.Gaps[0]; g.X != 100 || g.Width != 400 {
		t.Errorf("the gap: %+v", g)
	}
	if line.Bars[0].End != inspect.EndDied || !line.Bars[2].Running || line.Bars[1].Width != 300 {
		t.Errorf("%+v", line.Bars)
	}
	both := drawTimeline([]inspect.Held{{Who: "a", EnteredAt: at(0), LeftAt: at(60), Left: 5}, {Who: "b", EnteredAt: at(30)}, {Who: "c", EnteredAt: at(70)}, {Who: "d"}}, inspect.Semaphore, now)
	if both.Lanes != 2 || both.Bars[1].Lane != 1 || both.Bars[2].Lane != 0 || both.Untimed != 1 || len(both.Gaps) != 0 {
		t.Errorf("%+v", both)
	}
}

func TestAgesAreNeverNegative(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Hour: "0.0 s", 1500 * time.Millisecond: "1.5 s", 90 * time.Second: "90 s", 90 * time.Minute: "90 min", 30 * time.Hour: "30 h", 72 * time.Hour: "3 d"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ann:plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := func() *flags { f := &flags{namespace: "fenceline/", listen: "127.0.0.1:0"}; f.every = 1e9; return f }
	for want, change := range map[string]func(*flags){
		"--namespace":                     func(f *flags) { f.namespace = "" },
		"--every":                         func(f *flags) { f.every = 0 },
		"--prefix":                        func(f *flags) { f.prefix = "locks" },
		"want host:port":                  func(f *flags) { f.listen = "8017" },
		"not this machine alone":          func(f *flags) { f.listen = ":8017" },
		`"0.0.0.0:8017" is not`:           func(f *flags) { f.listen = "0.0.0.0:8017" },
		"exclude each other":              func(f *flags) { f.authFile, f.authHeader = users, "X" },
		"want a name":                     func(f *flags) { f.hosts = []string{"a:80"} },
		"no such file":                    func(f *flags) { f.authFile = users + "x" },
		`line 1: user "ann": want a bcry`: func(f *flags) { f.authFile = users },
	} {
		f := good()
		change(f)
		if err := f.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	for _, change := range []func(*flags){func(*flags) {}, func(f *flags) { f.listen, f.insecure = ":0", true }, func(f *flags) { f.listen, f.authHeader = ":0", "X" }, func(f *flags) { f.listen = "localhost:0" }} {
		f := good()
		change(f)
		if err := f.check(); err != nil {
			t.Error(err)
		}
	}
}

func TestPrefixOfAProxyIsTaken(t *testing.T) {
	within(t, nil, func(s *site) {
		h := prefixed("/locks", s.h)
		for path, want := range map[string]int{"/locks/": 200, "/locks/lines": 200, "/locks/assets/style.css": 200, "/locks": 301, "/lines": 404, "/healthz": 200} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
			if w.Code != want {
				s.t.Errorf("%q: %d, want %d", path, w.Code, want)
			}
			for _, absolute := range []string{`href="/`, `src="/`, `action="/`} {
				if want == 200 && strings.Contains(w.Body.String(), absolute) {
					s.t.Errorf("%q has a link that leaves the prefix: %s", path, absolute)
				}
			}
		}
	})
}
