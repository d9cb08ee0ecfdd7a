package bench

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Server is what etcd says of itself while the clock ran, in the metrics that it serves beside its API: of all members
// together, those that did not tell left out.
type Server struct {
	Proposals int64         `json:"proposals"` // that were applied, of whoever they were; those of one member, since all apply the same
	Fsyncs    int64         `json:"fsyncs"`    // of logs
	FsyncMean time.Duration `json:"fsync_mean_ns"`
	FsyncP99  time.Duration `json:"fsync_p99_ns"` // between the bounds of a bucket of etcd's histogram
	CPU       time.Duration `json:"cpu_ns"`
	Memory    int64         `json:"memory_bytes"` // resident, at the end
	Members   int           `json:"members"`      // that told
}

// scrapeTimeout is for all members; a run does not wait for metrics.
const scrapeTimeout = 2 * time.Second

// scrape is one look at the metrics of a member.
type scrape struct {
	proposals, cpu, memory float64
	fsync                  *dto.Histogram
}

// scraper asks for them. It goes where clients go, with their certificate.
type scraper struct {
	client *http.Client
	urls   []string
	silent map[string]bool // did not tell once, and are not asked again: a run has many trials, and each would wait
}

func newScraper(config clientv3.Config) *scraper {
	transport := &http.Transport{TLSClientConfig: config.TLS}
	s := &scraper{client: &http.Client{Transport: transport, Timeout: scrapeTimeout}, silent: map[string]bool{}}
	for _, endpoint := range config.Endpoints {
		if !strings.Contains(endpoint, "://") {
			scheme := "http://"
			if config.TLS != nil {
				scheme = "https://"
			}
			endpoint = scheme + endpoint
		}
		s.urls = append(s.urls, strings.TrimSuffix(endpoint, "/")+"/metrics")
	}
	return s
}

// look asks all members at the same time. A member that does not tell is nil: metrics may be served elsewhere, or to others.
func (s *scraper) look(ctx context.Context) []*scrape {
	all := make([]*scrape, len(s.urls))
	var asked sync.WaitGroup
	for i, url := range s.urls {
		if s.silent[url] {
			continue
		}
		asked.Go(func() {
			if one, err := s.get(ctx, url); err == nil {
				all[i] = one
			}
		})
	}
	asked.Wait()
	for i, url := range s.urls {
		s.silent[url] = all[i] == nil && ctx.Err() == nil
	}
	return all
}

func (s *scraper) get(ctx context.Context, url string) (*scrape, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("bench: %s: %s", url, resp.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, err
	}
	one := new(scrape)
	for name, into := range map[string]*float64{
		"etcd_server_proposals_applied_total": &one.proposals,
		"process_cpu_seconds_total":           &one.cpu,
		"process_resident_memory_bytes":       &one.memory,
	} {
		if family := families[name]; family != nil && len(family.Metric) == 1 {
			*into = family.Metric[0].GetCounter().GetValue() + family.Metric[0].GetGauge().GetValue()
		}
	}
	if family := families["etcd_disk_wal_fsync_duration_seconds"]; family != nil && len(family.Metric) == 1 {
		one.fsync = family.Metric[0].GetHistogram()
	}
	if one.fsync == nil {
		return nil, fmt.Errorf("bench: %s: it is not an etcd's", url)
	}
	return one, nil
}

func (s *scraper) close() { s.client.CloseIdleConnections() }

// served is what happened between two looks; nil if nobody told both times.
func served(before, after []*scrape) *Server {
	var sum Server
	var seconds float64
	counts := map[float64]uint64{} // by upper bound, cumulative
	for i := range after {
		b, a := before[i], after[i]
		if b == nil || a == nil || a.fsync.GetSampleCount() < b.fsync.GetSampleCount() { // it was started again
			continue
		}
		sum.Members++
		sum.Proposals = max(sum.Proposals, int64(a.proposals-b.proposals))
		sum.CPU += time.Duration((a.cpu - b.cpu) * float64(time.Second))
		sum.Memory += int64(a.memory)
		sum.Fsyncs += int64(a.fsync.GetSampleCount() - b.fsync.GetSampleCount())
		seconds += a.fsync.GetSampleSum() - b.fsync.GetSampleSum()
		for j, bucket := range a.fsync.Bucket {
			counts[bucket.GetUpperBound()] += bucket.GetCumulativeCount() - b.fsync.Bucket[j].GetCumulativeCount()
		}
	}
	if sum.Members == 0 {
		return nil
	}
	if sum.Fsyncs > 0 {
		sum.FsyncMean = time.Duration(seconds / float64(sum.Fsyncs) * float64(time.Second))
		sum.FsyncP99 = quantile(0.99, counts, uint64(sum.Fsyncs))
	}
	return &sum
}

// quantile is where it lies within its bucket, if values lie evenly there.
func quantile(q float64, counts map[float64]uint64, total uint64) time.Duration {
	rank := q * float64(total)
	low, high, below, within := 0.0, math.Inf(1), uint64(0), total
	for bound, n := range counts {
		if float64(n) < rank && bound > low {
			low, below = bound, n
		}
		if float64(n) >= rank && bound < high {
			high, within = bound, n
		}
	}
	if math.IsInf(high, 1) || within == below {
		return time.Duration(low * float64(time.Second))
	}
	share := (rank - float64(below)) / float64(within-below)
	return time.Duration((low + (high-low)*share) * float64(time.Second))
}

// add takes two rounds together. A percentile of both is not known: the larger one is told.
func (s *Server) add(o *Server) *Server {
	if s == nil || o == nil {
		return cmp.Or(s, o)
	}
	sum := &Server{Proposals: s.Proposals + o.Proposals, Fsyncs: s.Fsyncs + o.Fsyncs, FsyncP99: max(s.FsyncP99, o.FsyncP99), CPU: s.CPU + o.CPU,
		Memory: max(s.Memory, o.Memory), Members: max(s.Members, o.Members)}
	if sum.Fsyncs > 0 {
		sum.FsyncMean = (s.FsyncMean*time.Duration(s.Fsyncs) + o.FsyncMean*time.Duration(o.Fsyncs)) / time.Duration(sum.Fsyncs)
	}
	return sum
}
