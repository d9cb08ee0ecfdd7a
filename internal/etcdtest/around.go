package etcdtest

import clientv3 "go.etcd.io/etcd/client/v3"

// Around is txn, whose Commit is commit: that sends txn, or not, or later, and its result is what a test wants.
func Around(txn clientv3.Txn, commit func(clientv3.Txn) (*clientv3.TxnResponse, error)) clientv3.Txn {
	return &aroundTxn{txn, commit}
}

type aroundTxn struct {
	clientv3.Txn
	commit func(clientv3.Txn) (*clientv3.TxnResponse, error)
}

func (x *aroundTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { x.Txn = x.Txn.If(cs...); return x }
func (x *aroundTxn) Then(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Then(ops...); return x }
func (x *aroundTxn) Else(ops ...clientv3.Op) clientv3.Txn { x.Txn = x.Txn.Else(ops...); return x }

func (x *aroundTxn) Commit() (*clientv3.TxnResponse, error) { return x.commit(x.Txn) }
