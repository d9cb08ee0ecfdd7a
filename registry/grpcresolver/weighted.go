package grpcresolver

import (
	"slices"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"

	"github.com/fenceline/fenceline/internal/chance"
)

// Policy is the name of the load balancing policy that draws by weight.
const Policy = "fenceline_weighted"

func init() {
	balancer.Register(base.NewBalancerBuilder(Policy, weights{}, base.Config{HealthCheck: true}))
}

// weights makes pickers of the connections that are ready.
type weights struct{}

// Build is for gRPC.
func (weights) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	p := &drawing{}
	for conn, of := range info.ReadySCs {
		weight := int64(1)
		if v, ok := of.Address.BalancerAttributes.Value(key{}).(value); ok {
			weight = int64(max(v.instance.Weight, 1))
		}
		p.sum += weight
		p.conns, p.sums = append(p.conns, conn), append(p.sums, p.sum)
	}
	return p
}

// drawing draws a connection at random, by weight.
type drawing struct {
	conns []balancer.SubConn
	sums  []int64 // of the weights up to each
	sum   int64
}

// Pick is for gRPC.
func (p *drawing) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	i, _ := slices.BinarySearch(p.sums, chance.N(p.sum)+1)
	return balancer.PickResult{SubConn: p.conns[i]}, nil
}
