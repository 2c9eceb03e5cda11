"""What the results page says around its tables."""

HEAD = """
# Results

<!-- python -m benchmarks.experiments.page writes this page. -->

Does what the paper claims show, on data that anyone can make? At a size that two
CPU cores train in minutes:

- **Neighbours help where the key frame hides a joint.** It is the clearest effect
  here, and none where the frame shows the joint.
- **Diffusion does not help.** The whole method finds as many joints as the same
  network without it, within the intervals.
- **Several samples and steps change nothing**, because the samples are all but
  equal: the Pose-Decoder has learned to ignore the noisy heatmaps. Its loss is,
  to two digits, that of the network that never sees any, even where they are
  noised only a little and show the answer.

Why. The lookup sees the noisy heatmaps as one mask for all joints, one number a
cell, and the feature goes past the mask unmasked too; what a joint's own heatmap
says cannot come through. Concatenation (`no lookup`) lets it through, and its
loss does fall by a tenth; that is knowledge of the answer, though, and at the
first step there is none. And with a squared error the best first estimate, out
of pure noise, is the mean of all heatmaps that the pictures allow; the mean of
many perfect samples is the same map. So merging can give back what a single
sample loses against it, and hardly more.

What was tried beyond the paper: noising from the network's own estimate
(`train.self_aligned`), a weight on the error of the first estimate
(`train.start_weight`), and showing the decoder its heatmaps of the step before,
joint by joint (`model.self_condition`). The tables say what each gave. All are
short trainings of small networks: a ViT-B of 60 epochs may learn to use its mask,
and the weights that ship, after 4000 steps, gain 0.4 AP from 4 steps x 4 samples
([model card](model_card.md)). What is here says that it does not come by itself.
"""

SETTING = """
`configs/synthetic_hidden.py`: rendered people, one a picture, who are blurred or
covered in one or two of every four frames. The ViT starts from the weights that
ship, all else is new; 500 steps of 16 clips of three frames, 2.2 million
parameters. People are found in their true boxes, 2 steps x 4 samples where
nothing else is said.

AP is over the chosen joints alone, ranked by score, right within half a head, mean
over types. *Hard* joints are covered (*occluded*) or of a person whose blur is
above 0.35 head sizes (*blurred*); *fast* people move by more than 0.08 head sizes
a frame. Intervals are bootstraps over videos and over runs, paired where a gain is
told; with one run they do not hold what another seed would change.
"""

EACH: dict[str, str] = {
  "ladder": """
One difference each: `single frame` and `temporal` have no diffusion, `no lookup`
concatenates in the place of the mask.
""",
  "refined": """
With a weight on the first estimate one step is as well trained as without
diffusion. A decoder that sees its own estimate gains a little from the second
step, and stays where the others are.
""",
  "hard": """
`configs/synthetic_hard.py`: up to four people who face anywhere, in clutter, cut
and covered. The small network finds a quarter of their joints, and what a frame
hides is not what it misses: every rung is the same, whatever it has.
""",
  "sampling": """
One network, read with every number of steps and samples. Not one gain is above
its interval, and there is no spread for `--adaptive` to tell people apart by: two
samples are as good as eight for everybody, at a quarter of the work.
""",
  "sampling-paper": """
With `train.self_aligned=0`, the paper's training, noise is ignored no less.
""",
}
