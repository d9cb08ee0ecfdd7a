package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

var screens = flag.String("screens", "", "a `folder` for screenshots of all pages")

// serve has the dashboard of a cluster served.
func serve(t testing.TB, m *etcdtest.Member, change func(*server)) (at string, s *server) {
	t.Helper()
	client := m.Client(t)
	mirror := newMirror(client, 500*time.Millisecond, "fenceline/", inspect.WithServices("services/"))
	s = &server{client: client, mirror: mirror, namespace: "fenceline/", say: func(string, ...any) {}}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- mirror.run(ctx, func() { close(started) }) }()
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(s.handler())
	web.Config.BaseContext = nil
	web.Start()
	t.Cleanup(func() {
		cancel()
		web.CloseClientConnections()
		web.Close()
		<-ended
	})
	return web.URL + "/", s
}

// browser is a headless Chromium that notes what goes wrong in it.
type browser struct {
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

func openBrowser(t *testing.T, origin string) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	ctx, timeout := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(func() {
		timeout()
		cancel()
		stop()
	})
	b := &browser{ctx: ctx}
	err = chromedp.Listen(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.problems = append(b.problems, "exception: "+ev.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			if ev.Type == "error" || ev.Type == "warning" {
				b.problems = append(b.problems, fmt.Sprintf("console: %v", ev.Args))
			}
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, origin) && !strings.HasPrefix(ev.Request.URL, "data:") {
				b.problems = append(b.problems, "a request to "+ev.Request.URL)
			}
		case *network.EventResponseReceived:
			if ev.Response.Status >= 400 {
				b.problems = append(b.problems, fmt.Sprintf("%d of %s", ev.Response.Status, ev.Response.URL))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
		return err
	}))
	return b
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// get is what an action gives.
func get[T any](t *testing.T, b *browser, action chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// until waits until an expression of the page is true.
func (b *browser) until(t *testing.T, expression string) {
	t.Helper()
	etcdtest.Eventually(t, 30*time.Second, expression, func() bool {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		return err == nil && is // an error: it goes to another page
	})
}

// scheme has the page light or dark.
func scheme(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
		return err
	})
}

func (b *browser) well(t *testing.T, where string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		t.Errorf("%s: %s", where, p)
	}
	b.problems = nil
}

// axe is axe-core's script, if the environment says where it is.
func axe(t *testing.T) string {
	at := os.Getenv("FENCELINE_AXE")
	if at == "" {
		return ""
	}
	text, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// accessible has axe-core look at the page.
func (b *browser) accessible(t *testing.T, script, where string) {
	t.Helper()
	wait := true
	get(t, b, chromedp.Evaluate[int](script+"; 0"))
	found := get(t, b, chromedp.Evaluate[string](`axe.run(document).then(r => JSON.stringify(r.violations.filter(v => ["serious", "critical"].includes(v.impact)).map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html.slice(0, 150)).join(" | "))))`,
		func(p *runtime.EvaluateParams) { p.AwaitPromise = &wait }))
	var violations []string
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Errorf("%s: %s", where, v)
	}
}

// Every page, beside a busy cluster, light and dark, on a screen and on a phone: nothing is loaded from elsewhere, nothing fails, nothing is
// cut off, and axe-core finds nothing serious.
func TestPagesInABrowser(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("it takes a cluster and a browser")
	}
	m := etcdtest.Start(t)
	at, _ := serve(t, m, func(s *server) { s.actions = true })
	busy(t, m, 1000, 50, 200)
	b := openBrowser(t, at)
	b.do(t, chromedp.Navigate(link(at+"line", "kind", "lock", "name", "order-lost")), chromedp.WaitVisible("#live"))
	b.until(t, `document.querySelector("main").textContent.includes("doomed")`)
	if _, err := m.Client(t).Revoke(t.Context(), doomed.Lease()); err != nil { // it is lost, and its election has no leader
		t.Fatal(err)
	}
	_ = doomed.Close(context.Background())
	b.until(t, `document.querySelector("main").textContent.includes("died")`)
	script := axe(t)
	for _, view := range []struct {
		name, path, has string
	}{
		{"trouble", "", "no leader"},
		{"lines", "lines?sort=longest", "order-"},
		{"line", lineLink("lock", "order-0000"), "worker-a"},
		{"hot", lineLink("lock", "hot-00"), "History"},
		{"semaphore", lineLink("semaphore", "downloads"), "Units"},
		{"readers", lineLink("rwlock", "catalogue"), "write"},
		{"elections", "elections", "reports"},
		{"jobs", "jobs", "job-03"},
		{"job", link("job", "name", "job-03"), "the disk is full"},
		{"services", "services", "service-1"},
		{"service", link("service", "name", "service-1"), "10.0.0.1:80"},
		{"sessions", "sessions", "importer"},
		{"graph", "graph", "transfer of account-1"},
	} {
		for _, look := range []struct {
			name   string
			width  int64
			scheme string
		}{{"light", 1280, "light"}, {"dark", 1280, "dark"}, {"phone", 390, "light"}} {
			where := view.name + ", " + look.name
			b.do(t, scheme(look.scheme), chromedp.EmulateViewport(look.width, 900), chromedp.Navigate(at+view.path), chromedp.WaitVisible("#live"))
			b.until(t, fmt.Sprintf(`document.querySelector("main").textContent.includes(%q)`, view.has))
			widths := get(t, b, chromedp.Evaluate[[2]int](`[document.documentElement.scrollWidth, document.documentElement.clientWidth]`))
			if widths[0] > widths[1] {
				t.Errorf("%s: %d wide, of %d", where, widths[0], widths[1])
			}
			if script != "" {
				b.accessible(t, script, where)
			}
			if *screens != "" {
				shot := get(t, b, chromedp.FullScreenshot(100))
				if err := os.WriteFile(filepath.Join(*screens, view.name+"-"+look.name+".png"), shot, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b.well(t, where)
		}
	}
}

func TestPageFollowsWhatHappensAndActs(t *testing.T) {
	m := etcdtest.Start(t)
	at, _ := serve(t, m, func(s *server) { s.actions = true })
	b := openBrowser(t, at)
	s, err := session.Open(t.Context(), m.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	b.do(t, chromedp.Navigate(at+"lines"), chromedp.WaitVisible("#live"))
	b.until(t, `document.getElementById("state").textContent === "Live"`)
	get(t, b, chromedp.Evaluate[int](`window.marker = 7`)) // the page is not loaded again
	l, err := lock.New(s, "fresh").Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b.until(t, `document.querySelector("main").textContent.includes("fresh")`)
	t.Logf("the page shows it after %v", time.Since(began))
	if marker := get(t, b, chromedp.Evaluate[int](`window.marker || 0`)); marker != 7 {
		t.Error("the page was loaded again")
	}

	// Break the hold, from the page.
	b.do(t, chromedp.Click(`a[href*="name=fresh"]`), chromedp.WaitVisible(`a[href*="do=break"]`), chromedp.Click(`a[href*="do=break"]`), chromedp.WaitVisible(`input[name=reason]`))
	question := get(t, b, chromedp.Evaluate[string](`document.querySelector("main").textContent`))
	for _, want := range []string{`Break the hold of`, `lock "fresh"`, l.Token().String(), "create revision"} {
		if !strings.Contains(question, want) {
			t.Errorf("it does not say %q before: %s", want, question)
		}
	}
	b.do(t, chromedp.SendKeys(`input[name=reason]`, "its machine is off"), chromedp.Click("button.danger"))
	select {
	case <-l.Context().Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the hold goes on")
	}
	var broken *session.BrokenError
	if cause := context.Cause(l.Context()); !errors.As(cause, &broken) || broken.Reason != "its machine is off" || broken.By != "dashboard" {
		t.Errorf("%v", cause)
	}
	b.until(t, `document.querySelector("main").textContent.includes("its machine is off")`)
	b.well(t, "the action")

	// The first key leads past the navigation.
	b.do(t, chromedp.Navigate(at), chromedp.WaitVisible("#live"), chromedp.KeyEvent("\t"))
	if focused := get(t, b, chromedp.Evaluate[string](`document.activeElement.textContent`)); focused != "To the content" {
		t.Errorf("the first tab goes to %q", focused)
	}
}
