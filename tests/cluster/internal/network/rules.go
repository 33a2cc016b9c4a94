package network

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PolicyQueue is the netfilter queue through which new connections of pods pass, to be judged by NetworkPolicies.
const PolicyQueue = 100

// forwarding is the host's switch for letting packets through; it is turned on and left on, as Docker does.
const forwarding = "/proc/sys/net/ipv4/ip_forward"

// wayOut lists the rules of the host: whatever its policy, packets of the cluster pass, and those that leave it bear
// the host's address.
func (p Plan) wayOut() [][]string {
	block, mark := p.Block.String(), []string{"-m", "comment", "--comment", "paas cluster " + p.Bridge()}
	rules := [][]string{
		{"-t", "filter", "FORWARD", "-s", block, "-j", "ACCEPT"},
		{"-t", "filter", "FORWARD", "-d", block, "-j", "ACCEPT"},
		{"-t", "nat", "POSTROUTING", "-s", block, "!", "-d", block, "-j", "MASQUERADE"},
	}
	for index, rule := range rules {
		rules[index] = append(rule, mark...)
	}
	return rules
}

func (p Plan) ensureWayOut() error {
	if err := os.WriteFile(forwarding, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("failed to turn on forwarding: %w", err)
	}
	for _, rule := range p.wayOut() {
		if _, err := run("iptables", change("-C", rule)...); err == nil {
			continue
		}
		if _, err := run("iptables", change("-I", rule)...); err != nil {
			return err
		}
	}
	return nil
}

func (p Plan) removeWayOut() error {
	for _, rule := range p.wayOut() {
		// A rule may be there twice when two tools raced; it is deleted until it is not there.
		for {
			if _, err := run("iptables", change("-C", rule)...); err != nil {
				break
			}
			if _, err := run("iptables", change("-D", rule)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// change puts a verb into a rule: `-t TABLE VERB CHAIN …`.
func change(verb string, rule []string) []string {
	arguments := append([]string{"-w"}, rule[:2]...)
	arguments = append(arguments, verb)
	return append(arguments, rule[2:]...)
}

// EnsurePolicyQueue sends the first packet of each connection from or to a pod through the queue, in the network
// namespace of a process. It is an error where the kernel has no such queue.
//
// The queue is at the end of the way, where addresses of services are already those of pods and those of pods are
// not yet masked. What the node's own servers send is let through, or probes could be blocked.
func (p Plan) EnsurePolicyQueue(pid int) error {
	const chain = "PAAS-POLICY"
	pods := p.Pods().String()
	queue := []string{"-j", "NFQUEUE", "--queue-num", strconv.Itoa(PolicyQueue)}
	rules := []string{
		"*mangle",
		":" + chain + " - [0:0]",
		"-A " + chain + " -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
		"-A " + chain + " -m owner --uid-owner 0 -j RETURN",
		"-A " + chain + " -s " + pods + " " + strings.Join(queue, " "),
		"-A " + chain + " -d " + pods + " " + strings.Join(queue, " "),
		"COMMIT",
		"",
	}
	if _, err := runWithInput(strings.Join(rules, "\n"), "nsenter", namespace(pid)("iptables-restore", "-w", "--noflush")...); err != nil {
		return err
	}
	jump := []string{"-t", "mangle", "POSTROUTING", "-j", chain}
	if _, err := run("nsenter", namespace(pid)(append([]string{"iptables"}, change("-C", jump)...)...)...); err == nil {
		return nil
	}
	_, err := run("nsenter", namespace(pid)(append([]string{"iptables"}, change("-A", jump)...)...)...)
	return err
}
