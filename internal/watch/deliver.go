package watch

import (
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// deliver hands one message to those whom it concerns.
func (s *Stream) deliver(resp *pb.WatchResponse) {
	s.listener.hear()
	switch {
	case resp.Created && resp.Canceled:
		s.refuse(resp)
	case resp.Created:
		s.created(resp)
	case resp.Canceled:
		s.cancelled(resp)
	case len(resp.Events) > 0: // else it only says how far etcd is
		if w := s.find(resp); w != nil {
			w.Events(resp.Events)
		}
	}
}

// created finds the watch that an answer is about, and tells it.
func (s *Stream) created(resp *pb.WatchResponse) {
	s.mu.Lock()
	w, ok := s.pending[resp.WatchId]
	switch {
	case ok:
		s.ids = ourIDs
	case s.ids != ourIDs && len(s.pending) == 1: // the one question that is open
		s.ids = serverIDs
		for _, w = range s.pending {
		}
	default: // not an answer to anything we asked
		s.mu.Unlock()
		return
	}
	delete(s.pending, w.req.WatchId)
	w.id, w.answered = resp.WatchId, true
	early := s.early[w.id]
	s.early = nil
	silent := w.cancelled || w.probe
	if silent {
		s.giveUp(w)
	} else {
		s.byID[w.id] = w
	}
	refused := s.settleRefusals()
	signal(s.wake) // for those who waited for this answer
	s.mu.Unlock()
	refused()
	if silent {
		return
	}
	w.Created(resp.Header.GetRevision())
	if len(early) > 0 {
		w.Events(early)
	}
}

// refuse takes note of a refusal. It carries an ID of -1: of several questions it does not say which it answers.
func (s *Stream) refuse(resp *pb.WatchResponse) {
	s.mu.Lock()
	s.refused = append(s.refused, refusal(resp))
	refused := s.settleRefusals()
	signal(s.wake)
	s.mu.Unlock()
	refused()
}

// settleRefusals waits until as many questions are open as there are refusals: these they concern. Meanwhile no more
// are asked. It is called with the mutex held, and what it returns without.
func (s *Stream) settleRefusals() (tell func()) {
	if len(s.refused) == 0 || len(s.pending) > len(s.refused) {
		return func() {}
	}
	refused, pending := s.refused, s.pending
	s.refused, s.pending = nil, map[int64]*watched{}
	for _, w := range pending {
		delete(s.watches, w)
	}
	return func() {
		restart := false
		i := 0
		for _, w := range pending {
			err := refused[i]
			i++
			if !w.cancelled && !w.probe {
				w.Ended(err)
			}
			restart = restart || tokenRefused(err)
		}
		if restart {
			s.Restart() // a stream keeps the token that it was opened with; the next one gets its own
		}
	}
}

// cancelled ends a watch that the server has ended.
func (s *Stream) cancelled(resp *pb.WatchResponse) {
	w := s.find(resp)
	if w == nil { // its owner has cancelled it
		return
	}
	s.mu.Lock()
	delete(s.byID, w.id)
	delete(s.watches, w)
	s.mu.Unlock()
	err := refusal(resp)
	w.Ended(err)
	if tokenRefused(err) {
		s.Restart()
	}
}

// find is the watch that a message is about. Events that come before the answer which names their watch are kept.
func (s *Stream) find(resp *pb.WatchResponse) *watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.byID[resp.WatchId]; w != nil {
		return w
	}
	if w := s.pending[resp.WatchId]; w != nil && !w.cancelled && !w.probe {
		return w
	}
	if s.ids != ourIDs && len(s.pending) > 0 && len(resp.Events) > 0 {
		if s.early == nil {
			s.early = map[int64][]*mvccpb.Event{}
		}
		s.early[resp.WatchId] = append(s.early[resp.WatchId], resp.Events...)
	}
	return nil
}

func tokenRefused(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision)
}

// refusal turns the text of a watch that was refused or ended back into the error that etcd's client knows.
func refusal(resp *pb.WatchResponse) error {
	if resp.CompactRevision > 0 {
		return rpctypes.ErrCompacted
	}
	for _, known := range []error{rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCInvalidAuthToken,
		rpctypes.ErrGRPCAuthOldRevision, rpctypes.ErrGRPCUserEmpty} {
		if text := resp.CancelReason; text == known.Error() || text == rpctypes.Error(known).Error() { // the latter by a proxy
			return rpctypes.Error(known)
		}
	}
	return fmt.Errorf("watch: etcd ended it: %s", resp.CancelReason)
}
