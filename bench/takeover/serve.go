package takeover

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
	"github.com/fenceline/fenceline/internal/witness"
)

// spec is the line that a process reads.
type spec struct {
	Workload, Subject  string
	Prefix             string
	TTL                time.Duration
	Username, Password string
	Witness            string // the socket of one
}

// What a process says, with the time in nanoseconds and its lease.
const (
	waits = "waits"
	holds = "holds"
)

const closeTimeout = 5 * time.Second

// Resolve finds a subject of a workload by name, and a load of which a turn of the last mode, of all names, keeps everybody else out.
type Resolve func(ctx context.Context, workload, subject string) (bench.Subject, bench.Load, error)

// Serve is the process of one contender: it takes the lock that the first line of in tells, says so, and holds it until in ends
// or ctx does. etcd has no user: that comes with the line.
func Serve(ctx context.Context, resolve Resolve, etcd clientv3.Config, in io.Reader, out io.Writer) (err error) {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return errors.Join(errors.New("bench: nobody says what to take"), err)
	}
	var s spec
	if err := json.Unmarshal(first, &s); err != nil {
		return fmt.Errorf("bench: what to take: %w", err)
	}
	etcd.Username, etcd.Password = s.Username, s.Password
	if err := os.Setenv(witness.Variable, s.Witness); err != nil { // where sessions look
		return err
	}
	subject, load, err := resolve(ctx, s.Workload, s.Subject)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process: nothing else ends a read
		defer cancel()
		_, _ = io.Copy(io.Discard, lines)
	}()
	contender, err := subject.Join(ctx, bench.Place{Etcd: etcd, Prefix: s.Prefix, TTL: s.TTL})
	if err != nil {
		return err
	}
	defer func() {
		bounded, done := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer done()
		err = errors.Join(err, contender.Close(bounded))
	}()
	err = hold(ctx, contender, load.About(), out)
	if ctx.Err() != nil { // it was to end
		return nil
	}
	return err
}

func hold(ctx context.Context, contender bench.Contender, about bench.About, out io.Writer) error {
	locker, err := contender.Locker(ctx, about.Names)
	if err != nil {
		return err
	}
	say := func(what string) error {
		at, lease := time.Now().UnixNano(), clientv3.LeaseID(0)
		if leased, ok := contender.(bench.Leased); ok {
			lease = leased.Lease()
		}
		_, err := fmt.Fprintf(out, "%s %d %d\n", what, at, lease)
		return err
	}
	turn := &bench.Turn{Mode: max(0, len(about.Modes)-1), Units: 1}
	for i := range about.Names {
		turn.Names = append(turn.Names, i)
	}
	if err := say(waits); err != nil {
		return err
	}
	if err := locker.Lock(ctx, turn); err != nil {
		return fmt.Errorf("bench: take the lock: %w", err)
	}
	if err := say(holds); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}
