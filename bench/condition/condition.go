// Package condition makes things harder for an etcd while it is measured: other writers, compactions, a slower network.
package condition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

// Conditions of a run. The zero value is none.
type Conditions struct {
	Noise   float64       // puts a second by somebody else, of 256 bytes to 1 000 keys
	Compact time.Duration // time between two compactions; 0: none
	Delay   time.Duration // that each message takes longer, in each direction
}

// Validate says which value breaks which rule; its errors are bench.ErrInvalid.
func (c Conditions) Validate() error {
	switch {
	case !(c.Noise >= 0) || c.Noise > 100_000:
		return bench.Invalid("noise is %v, want 0 to 100000 a second", c.Noise)
	case c.Compact < 0:
		return bench.Invalid("compact is %v, want 0 or more", c.Compact)
	case c.Delay < 0 || c.Delay > 10*time.Second:
		return bench.Invalid("delay is %v, want 0 to 10s", c.Delay)
	}
	return nil
}

// Names say what they are, for the report.
func (c Conditions) Names() (names []string) {
	if c.Noise > 0 {
		names = append(names, fmt.Sprintf("%v other puts a second", c.Noise))
	}
	if c.Compact > 0 {
		names = append(names, fmt.Sprintf("a compaction every %v", c.Compact))
	}
	if c.Delay > 0 {
		names = append(names, fmt.Sprintf("%v of delay each way", c.Delay))
	}
	return names
}

// Start begins with them, and returns how to reach the cluster under them. stop ends them, and leaves no key.
func (c Conditions) Start(config clientv3.Config) (under clientv3.Config, stop func() error, err error) {
	client, err := clientv3.New(config)
	if err != nil {
		return config, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	var proxies []*proxy
	stop = func() error {
		cancel()
		others.Wait()
		for _, p := range proxies {
			p.close()
		}
		bounded, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		var err error
		if c.Noise > 0 {
			_, err = client.Delete(bounded, noisePrefix, clientv3.WithPrefix())
		}
		return errors.Join(err, client.Close())
	}
	if c.Noise > 0 {
		others.Go(func() { noise(ctx, client, c.Noise) })
	}
	if c.Compact > 0 {
		others.Go(func() { compact(ctx, client, c.Compact) })
	}
	if c.Delay > 0 {
		config.Endpoints = append([]string(nil), config.Endpoints...)
		for i, endpoint := range config.Endpoints {
			scheme, target, _ := strings.Cut(endpoint, "://")
			if target == "" {
				scheme, target = "", endpoint
			}
			p, err := listen(target, c.Delay)
			if err != nil {
				return config, nil, errors.Join(err, stop())
			}
			proxies = append(proxies, p)
			config.Endpoints[i] = p.addr()
			if scheme != "" {
				config.Endpoints[i] = scheme + "://" + p.addr()
			}
		}
	}
	return config, stop, nil
}

const (
	noisePrefix = "fenceline-bench/noise/"
	noiseKeys   = 1000
	noiseBytes  = 256
	noiseBatch  = 10 * time.Millisecond
)

// noise writes at the rate, whatever the answers take. An error is no reason to stop: the run's own requests meet it, too.
func noise(ctx context.Context, client *clientv3.Client, rate float64) {
	value := strings.Repeat("x", noiseBytes)
	began, sent := time.Now(), 0
	var writing sync.WaitGroup
	defer writing.Wait()
	room := make(chan struct{}, 256) // so many at once, and no more, when etcd is too slow for the rate
	tick := time.NewTicker(noiseBatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := int(rate * time.Since(began).Seconds()); sent < due; sent++ {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return
			}
			key := fmt.Sprintf("%s%d", noisePrefix, sent%noiseKeys)
			writing.Go(func() {
				defer func() { <-room }()
				_, _ = client.Put(ctx, key, value) // see above
			})
		}
	}
}

// compact drops the history up to now, every time.
func compact(ctx context.Context, client *clientv3.Client, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now, err := client.Get(ctx, noisePrefix, clientv3.WithCountOnly()); err == nil {
			_, _ = client.Compact(ctx, now.Header.Revision) // somebody else's compaction may have been later
		}
	}
}
