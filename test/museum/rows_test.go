// Copyright The Selvage Authors.
// SPDX-License-Identifier: Apache-2.0

package museum

// The packages that tests lie in.
const (
	pure      = "controllers/ownership"
	shell     = "controllers"
	ledger    = "node-agent/addresses"
	cni       = "node-agent/cniserver"
	kernel    = "node-agent/datapath"
	agent     = "node-agent/membership"
	inventory = "cmd/kubectl-selvage/inventory"
)

// by is a test that fails without each of the guards.
func by(pkg, name string, guards ...string) exhibit {
	return exhibit{pkg: pkg, name: name, guards: guards}
}

// off is a test of controllers/ownership that switches rules off by itself.
func off(name string, rules ...string) exhibit {
	return exhibit{pkg: pure, name: name, switched: rules}
}

// rows are the museum: first what was taken over, removed or lost.
var rows = append([]row{
	{
		[]string{"weave#1949", "#3190", "#3722"}, "several peers took over the same removed peer: duplicates",
		"**OneHeir**: the heir is fixed, by name and uid, in one write", []exhibit{
			off("TestMuseum_weave_1949_several_peers_take_over_one", "HeirFixed"),
		},
	},
	{
		[]string{"weave#3393"}, "a live node without an address was removed",
		"evidence, not appearance", []exhibit{
			by(pure, "TestMuseum_weave_3393_a_live_node_without_an_address", "the node is there without an address"),
		},
	},
	{
		[]string{"weave#3397", "#3394"}, "a node's name came back, and the name was the identity",
		"the Peer's uid is the incarnation", []exhibit{
			off("TestMuseum_weave_3397_a_name_comes_back", "OrphanUID"),
			by(agent, "TestMuseum_weave_3397_a_machine_under_another_ones_name", "an instance is not its name"),
		},
	},
	{
		[]string{"weave#678"}, "a peer that was restarted trusted its stale view after it had given space away",
		"**Monotone**; a peer is resumed by uid, and never once it was fenced", []exhibit{
			by(agent, "TestMuseum_weave_678_a_stale_view_after_giving_away", "no lower epoch", "fenced for good"),
		},
	},
	{
		[]string{"weave#2104"}, "one nickname, two peers: an arbitrary one was the victim",
		"ambiguity is refused", []exhibit{
			by(inventory, "TestMuseum_weave_2104_one_nickname_two_peers", "ambiguity is refused"),
		},
	},
	{
		[]string{"weave#2797", "#3602"}, "dead nodes' space never came back, and the cluster ran out",
		"**Progress**, **NoLoss**", []exhibit{
			off("TestMuseum_weave_2797_space_of_dead_nodes", "Orphans"),
		},
	},
	{
		[]string{"weave#3902"}, "nodes were stopped and started daily: \"seeded by different peers\"",
		"joining is one create against one record; who cannot reach it gives nothing out", []exhibit{
			by(agent, "TestMuseum_weave_3902_stopped_and_started_daily", "nothing before the API was seen"),
			by(agent, "TestMuseum_weave_3902_two_join_at_once", "joined by one create"),
		},
	},
	{
		[]string{"calico#3940", "#9182", "#12257"}, "addresses in use were collected: their node was missing from a listing, re-imaged, or renamed",
		"evidence, by uid; absence is read from the API server", []exhibit{
			off("TestMuseum_calico_3940_missing_reimaged_or_renamed", "NodeLease", "Watch"),
			by(shell, "TestMuseum_calico_3940_a_listing_that_misses_a_node", "an absent Node is read again"),
		},
	},
	{
		[]string{"calico#3187"}, "an upgrade of the controller deleted every node's entry: 5,000 pods cut off",
		"too many removals at once are held back, and a live lease forbids each", []exhibit{
			off("TestMuseum_calico_3187_every_node_at_once", "Breaker", "NodeLease"),
		},
	},
	{
		[]string{"calico#7281", "#9450"}, "stale FDB or neighbour entries after a node was deleted and added again",
		"the datapath is level-triggered: what is there is read and compared", []exhibit{
			by(kernel, "TestMuseum_calico_7281_stale_entries_after_delete_and_add",
				"FDB entries are compared", "neighbours are compared"),
		},
	},
	{
		[]string{"calico#10778", "libcalico-go#1377", "kubernetes#70957"}, "the size of blocks or node masks was changed: overlap",
		"**Disjoint** is checked by overlap, not by equality", []exhibit{
			off("TestMuseum_calico_10778_block_size_changed", "Verify"),
		},
	},
	{
		[]string{"calico PR#12839"}, "collection looped for ever on a stale sequence number",
		"**Progress**: what is written was decided on what is there now", []exhibit{
			by(shell, "TestMuseum_calico_PR_12839_stale_for_ever", "decided on a consistent view"),
		},
	},
	{
		[]string{"calico#5218", "#8643"}, "addresses and blocks of nodes long gone were never freed",
		"**NoLoss**", []exhibit{
			off("TestMuseum_calico_5218_blocks_of_nodes_long_gone", "Orphans", "LeaseSpent"),
		},
	},
	{
		[]string{"cilium#21482", "kubernetes#29058"}, "granted before all existing grants had been read: duplicates",
		"a claim is verified before it is granted", []exhibit{
			off("TestMuseum_cilium_21482_granted_before_all_was_read", "Verify"),
		},
	},
	{
		[]string{"cilium#41986", "#42920"}, "a pool was shrunk and restored, or two leaders acted: one range twice",
		"**Disjoint** with any number of writers", []exhibit{
			off("TestMuseum_cilium_41986_two_leaders", "Verify"),
		},
	},
}, others...)

// others are those of who writes, and on what view of things.
var others = []row{
	{
		[]string{"cilium PR#46678"}, "the agent released ranges in use before its own object was synced",
		"nothing is pruned before everything was read", []exhibit{
			by(agent, "TestMuseum_cilium_PR_46678_its_own_object_not_read_yet", "complete once it has seen itself"),
			by(kernel, "TestMuseum_cilium_PR_46678_pruned_before_it_was_complete", "nothing is pruned too early"),
		},
	},
	{
		[]string{"cilium#45980"}, "pools made after start-up were never seen",
		"watches outlive the start, and each decision reads all", []exhibit{
			by(shell, "TestMuseum_cilium_45980_a_pool_made_later", "pools are read with each view"),
		},
	},
	{
		[]string{"cilium PR#33278", "#21844"}, "what was deleted while the agent was down stayed",
		"the datapath is level-triggered", []exhibit{
			by(kernel, "TestMuseum_cilium_PR_33278_deleted_while_down", "routes are pruned", "peers are forgotten"),
		},
	},
	{
		[]string{"kubernetes#127792"}, "space was freed at deletionTimestamp, while a finalizer held the node",
		"final evidence only", []exhibit{
			off("TestMuseum_kubernetes_127792_freed_at_deletion_timestamp", "Watch"),
		},
	},
	{
		[]string{"kubernetes#96416"}, "a restart counted usage twice",
		"what is in use is rebuilt, not added", []exhibit{
			by(ledger, "TestMuseum_kubernetes_96416_usage_counted_twice", "what is held is not counted again"),
		},
	},
	{
		[]string{"cloud-provider-azure#4556", "ovn-kubernetes#4067", "calico#12697", "coil#271"}, "a write whose outcome was unknown was taken for failed",
		"unknown means that it may have happened", []exhibit{
			by(pure, "TestMuseum_cloud_provider_azure_4556_unknown_outcome", "any claim is granted"),
			by(agent, "TestMuseum_cloud_provider_azure_4556_joined_and_not_told", "minted once"),
		},
	},
	{
		[]string{"antrea#7893"}, "an old allocator was vendored: duplicates on rotation",
		"**Disjoint**", []exhibit{
			by(ledger, "TestMuseum_antrea_7893_duplicates_on_rotation", "the search goes round what is taken"),
		},
	},
	{
		[]string{"ovn-kubernetes#5219"}, "a node that joined during a restart got a subnet that had an owner",
		"a claim is verified before it is granted, on consistent LISTs", []exhibit{
			by(shell, "TestMuseum_ovn_kubernetes_5219_joined_during_a_restart", "decided on a consistent view"),
		},
	},
	{
		[]string{"ovn-kubernetes#5798", "amazon-vpc-cni-k8s#1939", "containerd#5768"}, "a deletion that returned early leaked addresses",
		"an address lives as long as its interface", []exhibit{
			by(cni, "TestMuseum_ovn_kubernetes_5798_early_return_on_delete", "an interface's end frees", "a failed DEL frees nothing"),
		},
	},
	{
		[]string{"origin#19080"}, "a host's address was recycled, and the wrong node's flows were deleted",
		"identity, not address", []exhibit{
			by(pure, "TestMuseum_origin_19080_one_address_two_peers", "an underlay address is one peer's"),
		},
	},
	{
		[]string{"flannel#1289", "#29"}, "a host back after its lease had ended took its subnet again; a suspended machine slept past its renewal",
		"a lease that is sealed is not renewed; its clock counts the time asleep", []exhibit{
			off("TestMuseum_flannel_1289_back_after_the_lease", "WatchSealed", "SealGeneration"),
			by(agent, "TestMuseum_flannel_1289_asleep_past_the_renewal", "the lease runs out"),
			by(agent, "TestMuseum_flannel_1289_the_clock_counts_sleep", "the clock counts sleep"),
		},
	},
	{
		[]string{"whereabouts#207", "#176", "#75", "#485", "#712", "#409"}, "listing order, reuse of names, a late cleanup after a revival, unreachable taken for gone, lost updates",
		"compare-and-swap; what is freed is looked at first", []exhibit{
			by(shell, "TestMuseum_whereabouts_207_lost_updates", "updates compare and swap"),
			by(shell, "TestMuseum_whereabouts_207_a_late_cleanup", "deletes carry what was read"),
			by(cni, "TestMuseum_whereabouts_207_late_news", "late news are looked into"),
			off("TestMuseum_whereabouts_207_unreachable_is_not_gone", "Watch"),
		},
	},
	{
		[]string{"spiderpool#2526", "kube-ovn#4304", "amazon-vpc-cni-k8s#711", "#3019"}, "restart or collection against a partial view",
		"rebuilt from the kernel; nothing is pruned on a partial reading", []exhibit{
			by(agent, "TestMuseum_spiderpool_2526_restart_against_a_partial_view", "no start without a dump"),
			by(cni, "TestMuseum_spiderpool_2526_collection_on_a_partial_view", "a missing list is not empty"),
		},
	},
	{
		[]string{"coil#204", "cilium#17837"}, "a dead node's finalizer never cleared",
		"**Progress**", []exhibit{
			by(pure, "TestMuseum_coil_204_the_finalizer_of_a_dead_node", "a vanished Node ends the wait"),
		},
	},
	{
		[]string{"coil garbage collector"}, "deleted by name after the name had been used again",
		"a delete carries uid and resourceVersion", []exhibit{
			by(shell, "TestMuseum_coil_garbage_collector_deleted_by_name", "deletes carry what was read"),
		},
	},
	{
		[]string{"kubernetes#59848"}, "a list that was stale at a restart was acted on",
		"a consistent read comes before a step that cannot be undone", []exhibit{
			by(shell, "TestMuseum_kubernetes_59848_a_stale_list_at_restart", "decided on a consistent view"),
		},
	},
}
