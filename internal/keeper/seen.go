package keeper

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/fenceline/fenceline/internal/etcd"
)

// KV asks etcd for keys, as the session. An answer of the quorum that is behind what was known when its question was sent shows that etcd
// was restored from a backup, and ends the epoch, whatever the answer says besides.
func (k *Keeper) KV() etcd.KV {
	kv := etcd.KV{Client: k.Client, Notes: (*notes)(k)}
	if m := k.Meter; m != nil {
		kv.Count = k.count
	}
	return kv
}

type notes Keeper

func (n *notes) Asking() etcd.Asked {
	n.mu.Lock()
	e := n.epoch
	n.mu.Unlock()
	if e == nil {
		return etcd.Asked{}
	}
	return etcd.Asked{Of: e, Seen: e.Seen()}
}

func (n *notes) Answered(before etcd.Asked, h *pb.ResponseHeader, quorum bool) {
	e, _ := before.Of.(*Epoch)
	switch revision := h.GetRevision(); {
	case e == nil || revision == 0 || !e.from(h.GetClusterId()):
	case quorum && revision < before.Seen:
		e.Rewound(before.Seen, revision)
	default:
		e.Saw(revision)
	}
}
