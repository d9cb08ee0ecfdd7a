package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fenceline/fenceline/bench/cost"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// cluster is the etcd of a run: a connection of our own, and the prefix below which everything happens.
type cluster struct {
	config clientv3.Config
	client *clientv3.Client
	prefix string

	scraper *scraper
}

const (
	reachTimeout = 5 * time.Second
	cleanTimeout = 10 * time.Second
)

// ErrUnreachable is an etcd that does not answer, or not to us.
var ErrUnreachable = errors.New("bench: cannot read from etcd")

// openCluster fails within reachTimeout when nobody answers.
func openCluster(ctx context.Context, config clientv3.Config, env *Environment) (*cluster, error) {
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, strings.Join(config.Endpoints, ", "), err)
	}
	c := &cluster{config: config, client: client, prefix: "fenceline-bench/" + strings.ToLower(rand.Text()[:10]) + "/", scraper: newScraper(config)}

	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	get, err := client.Get(ctx, c.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		err = fmt.Errorf("%w at %s: %w", ErrUnreachable, strings.Join(config.Endpoints, ", "), err)
		return nil, errors.Join(err, client.Close())
	}
	env.Endpoints = client.Endpoints()
	env.Revision = get.Header.Revision
	// The next two are for the report only; a user without the right to ask gets one without them.
	if status, err := client.Status(ctx, env.Endpoints[0]); err == nil {
		env.Etcd = status.Version
	}
	if members, err := client.MemberList(ctx); err == nil {
		env.Members = len(members.Members)
	}
	if env.Put, err = c.puts(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: put %sput: %w", c.prefix, err), c.close(ctx))
	}
	return c, nil
}

// Plain puts before the run: so many, or for so long.
const (
	putTimes = 200
	putTime  = time.Second
)

func (c *cluster) puts(ctx context.Context) (*Latency, error) {
	took := newLatencies()
	for began := time.Now(); took.hist.TotalCount() < putTimes && time.Since(began) < putTime; {
		at := time.Now()
		if _, err := c.client.Put(ctx, c.prefix+"put", "x"); err != nil {
			return nil, err
		}
		took.record(int64(time.Since(at)))
	}
	summary := took.summary()
	return &summary, nil
}

// place is where the contenders of one trial meet; what they send is counted by meter.
func (c *cluster) place(trial int, ttl time.Duration, meter *cost.Meter) Place {
	config := c.config
	config.DialOptions = append(slices.Clip(config.DialOptions), meter.DialOption())
	return Place{Etcd: config, Prefix: fmt.Sprintf("%s%d/", c.prefix, trial), TTL: ttl}
}

// close takes away what a subject left, also after a run that was interrupted.
func (c *cluster) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	defer c.client.Close()
	defer c.scraper.close()
	if _, err := c.client.Delete(ctx, c.prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("bench: delete %s*: %w", c.prefix, err)
	}
	return nil
}
