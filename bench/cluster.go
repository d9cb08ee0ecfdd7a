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
	c := &cluster{config: config, client: client, prefix: "fenceline-bench/" + strings.ToLower(rand.Text()[:10]) + "/"}

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
	return c, nil
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
	if _, err := c.client.Delete(ctx, c.prefix, clientv3.WithPrefix()); err != nil {
		return fmt.Errorf("bench: delete %s*: %w", c.prefix, err)
	}
	return nil
}
