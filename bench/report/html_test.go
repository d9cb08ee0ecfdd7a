package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fenceline/fenceline/bench"
)

// run is one of two subjects and three cells, whose names want to be escaped.
func run() *bench.Result {
	r := &bench.Result{Schema: bench.Schema, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Finished: time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC),
		Environment: bench.Environment{Go: "go1.26", OS: "linux", Arch: "amd64", CPUs: 2, CPU: "Some <CPU>", Etcd: "3.7.3", Members: 1},
		Settings:    bench.Settings{Subjects: []string{"fenceline", "<b>etcd"}, Rounds: 2, Duration: time.Second}}
	for _, n := range []int{1, 8, 100} {
		cell := bench.CellResult{Cell: bench.Cell{Contenders: n, Goroutines: 1}, Workload: "mutex"}
		for i, name := range r.Settings.Subjects {
			m := bench.Measures{Rate: float64(1000 / (i + 1)), Jain: 1, Acquisitions: int64(10 * n), Shares: make([]int64, n),
				Acquire:  bench.Latency{Count: 100, P50: time.Millisecond, P90: 2 * time.Millisecond, P99: 5 * time.Millisecond, Max: time.Second},
				HandOver: bench.Latency{Count: 100, P50: time.Duration(i+1) * time.Millisecond, P90: 2 * time.Millisecond, P99: 5 * time.Millisecond, Max: time.Second},
				Curve:    []bench.Quantile{{Percent: 0, Time: 1000}, {Percent: 50, Time: 1e6}, {Percent: 99, Time: 5e6}, {Percent: 100, Time: 1e9}}}
			for c := range n {
				m.Shares[c] = 10
				m.Timeline = append(m.Timeline, bench.Hold{Contender: c, From: time.Duration(c) * time.Millisecond, Until: time.Duration(c+1) * time.Millisecond})
			}
			if n == 8 {
				m.Shares[3], m.Starved = 0, 1
			}
			cell.Subjects = append(cell.Subjects, bench.SubjectResult{Subject: name, Measures: m})
		}
		r.Cells = append(r.Cells, cell)
	}
	r.Probes = []bench.Row{{Measure: "kill -9 to next holder", Setting: "TTL 5s", Subject: "<b>etcd", Count: 3, Median: 4 * time.Second, P99: 5 * time.Second, Max: 5 * time.Second,
		Remark: "1 later & more"}}
	return r
}

func htmlOf(t *testing.T, r *bench.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageNeedsNothingElseAndShowsEverySubjectInEveryCell(t *testing.T) {
	text := htmlOf(t, run())
	if found := regexp.MustCompile(`(?i)<script|<link|<img|https?://|url\(|@import|<b>etcd|<CPU>`).FindString(text); found != "" {
		t.Errorf("%q is in the page", found)
	}
	for _, want := range []string{"contenders: 1<", "contenders: 8<", "contenders: 100<", "Throughput", "Hand-over, median", "Some &lt;CPU&gt;",
		"Who was inside when: &lt;b&gt;etcd", "What each contender got", "<td>1000</td>", "<td>500</td>", "Beside the turns", "<td>4.00s</td>", "1 later &amp; more"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if n := strings.Count(text, "<svg"); n != 2+1+2*4 {
		t.Errorf("%d pictures", n)
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("no number in %s", svg)
		}
	}
}

func TestPageOfARunThatMeasuredNextToNothingIsAPage(t *testing.T) {
	r := run()
	r.Interrupted = true
	r.Cells = r.Cells[:1]
	r.Cells[0].Subjects[0].Measures = bench.Measures{Errors: 1, FirstError: "<oh>"}
	text := htmlOf(t, r)
	if !strings.Contains(text, "interrupted") || !strings.Contains(text, "&lt;oh&gt;") || strings.Contains(text, "NaN") {
		t.Error(text)
	}
}

// The page says in its title how wide it is, in a real browser.
func TestPageFitsAPhoneAndAScreen(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium")
	}
	script := `<script>document.title = [document.documentElement.scrollWidth, document.documentElement.clientWidth, document.querySelectorAll("svg").length,
		[...document.querySelectorAll("svg")].every(s => s.getBoundingClientRect().height > 20)].join(" ")</script>`
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(strings.Replace(htmlOf(t, run()), "</body>", script+"</body>", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{500, 1200} {
		cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
			"--disable-sync", "--user-data-dir="+t.TempDir(), fmt.Sprintf("--window-size=%d,900", width), "--dump-dom", "file://"+path)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		title := regexp.MustCompile(`<title>(\d+) (\d+) (\d+) (\w+)</title>`).FindStringSubmatch(string(out))
		if title == nil {
			t.Fatalf("no title in %.300s", out)
		}
		if title[1] != title[2] || title[3] != "11" || title[4] != "true" {
			t.Errorf("%d wide: the page is %s of %s wide, and has %s pictures, all visible: %s", width, title[1], title[2], title[3], title[4])
		}
	}
}

func TestPageHasAChartForTheNumberInASetting(t *testing.T) {
	var cells []bench.CellResult
	for _, readers := range []int{50, 90} {
		cells = append(cells, bench.CellResult{Cell: bench.Cell{Contenders: 8, Goroutines: 1, Load: shares(readers)}})
	}
	all := groups(cells)
	if len(all) != 1 || all[0].label != "% reads" || all[0].name != "8 contenders" || !slices.Equal(all[0].at, []float64{50, 90}) {
		t.Errorf("%+v", all)
	}
	for setting, want := range map[string]bool{"limit 4": true, "3 of 5": false, "": false, "fast": false} {
		if _, _, ok := numberIn(setting); ok != want {
			t.Errorf("%q: %v", setting, ok)
		}
	}
}

// shares is a workload of which so many percent read.
type shares int

func (s shares) About() bench.About {
	return bench.About{Workload: "rw", Setting: fmt.Sprintf("%d%% reads", s), Unit: "acquisition", Names: []string{"n"}}
}
func (shares) Validate() error                  { return nil }
func (shares) Referee(bench.Cell) bench.Referee { return nil }
