package fencetest

import _ "unsafe" // for linkname

// theirForever is a channel of clientv3's that is never closed: what the context of each stream of watches says it ends with. It is made
// when the program starts, outside every bubble, and whoever waits for it keeps the bubble's time from going on. A nil channel says the
// same, and nobody waits for it. Should etcd's client lose the variable, this is one of ours that nobody reads, and the tests of etcd's
// own packages here say so.
//
//go:linkname theirForever go.etcd.io/etcd/client/v3.valCtxCh
var theirForever chan struct{}

func init() { theirForever = nil }
