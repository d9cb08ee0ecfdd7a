package prom

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fenceline/fenceline/registry"
)

// DirectoryCollector is a prometheus.Collector of what a Directory shows.
type DirectoryCollector struct {
	directory                      *registry.Directory
	instances, stale, healthy, age *prometheus.Desc

	mu   sync.Mutex
	well time.Time // when it was healthy last, at a scrape
}

// NewDirectoryCollector is of d. A Directory that was closed has no instances, and is not healthy.
func NewDirectoryCollector(d *registry.Directory, opts ...Option) *DirectoryCollector {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	desc := func(name, help string, names ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, names, o.labels)
	}
	return &DirectoryCollector{directory: d, well: time.Now(),
		instances: desc("fenceline_directory_instances", "Instances of the service that the Directory shows.", "service", "status"),
		stale:     desc("fenceline_directory_stale_instances", "Instances that it shows though etcd does not have them.", "service"),
		healthy:   desc("fenceline_directory_healthy", "Whether the Directory hears of changes."),
		age:       desc("fenceline_directory_age_seconds", "For how long it has not been healthy at a scrape."),
	}
}

// Describe is of prometheus.Collector.
func (c *DirectoryCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.instances, c.stale, c.healthy, c.age} {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (c *DirectoryCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.mu.Lock()
	err := c.directory.Healthy()
	if err == nil {
		c.well = time.Now()
	}
	age := time.Since(c.well)
	c.mu.Unlock()
	if err == nil {
		age = 0
	}
	gauge(c.healthy, truth(err == nil))
	gauge(c.age, age.Seconds())
	for _, service := range c.directory.Services() {
		entries, err := c.directory.Instances(context.Background(), service)
		if err != nil {
			return // closed
		}
		stale, by := 0, map[registry.Status]int{registry.Up: 0}
		for i := range entries {
			by[entries[i].Status]++
			if entries[i].Stale {
				stale++
			}
		}
		name := strings.ToValidUTF8(service, "?")
		gauge(c.stale, float64(stale), name)
		for status, n := range by {
			gauge(c.instances, float64(n), name, string(status))
		}
	}
}
