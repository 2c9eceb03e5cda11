"""What the results page says around its tables."""

HEAD = """
# Results

<!-- python -m benchmarks.experiments.page writes this page. -->

Does what the paper claims show, on data that anyone can make? At a size that two
CPU cores train in minutes:

- **Neighbours help where the key frame hides a joint**, and more of them more: on
  hard joints 2.4, 4.6 and 5.8 AP with one, two and three on each side, on covered ones
  3.5, 7.0 and 8.8. It is the clearest effect here, and a small one where the frame
  shows the joint (0.5 to 1.6), as on footage.
- **Diffusion does not help.** The whole method finds no more joints than the same
  network without it; on footage 0.5 AP more, which one training each cannot tell from
  nothing.
- **The lookup does better than concatenation on footage**, which is 1.4 AP below the
  network without diffusion there. On rendered people the two are the same.
- **Several samples help, against one sample of several steps.** Trained as in the
  paper, a walk of several steps is worse than the estimate of one, and the mean of
  eight walks gives that back, hardest joints most. Sixteen get 0.3 AP beyond the one
  step, which costs a sixty-fourth of them.
- **Steps can be changed without training**, and more are not better; nor are steps of
  second order, or with noise of their own.
- **Where samples help, most people do not need them**: a first look of two samples and
  one step keeps 89 % of what 4 steps x 8 samples gain, and 77 % of what 16 do.

Why. With a squared error the best first estimate, out of pure noise, is the mean
of all heatmaps that the pictures allow, and the mean of many perfect samples is the
same map: merging can give back what single samples lose against it, and hardly
more. And the lookup sees the noisy heatmaps as one mask for all joints, one number
a cell, beside the feature that goes past unmasked: what a joint's own heatmap says
cannot come through. In training the loss is, to two digits, that of the network
that never sees a noisy heatmap, even though many of these are noised only a little
and show the answer. Concatenation (`no lookup`) lets it through, and its loss falls
by a tenth; that is knowledge of the answer, though, and at the first step there is
none.

What was tried beyond the paper: noising from the network's own estimate
(`train.self_aligned`, 0.5 in the configs for CPUs), after which the samples are all
but equal and one step is as good as many; a weight on the error of the first
estimate (`train.start_weight`); and showing the decoder its heatmaps of the step
before, joint by joint (`model.self_condition`). The tables say what each gave.

All are short trainings of small networks. A ViT-B of 60 epochs may learn to use its
mask better. The weights that ship ([model card](model_card.md)), which were noised
from their own estimate at the end, gain nothing from several steps or samples. What is
here says that it does not come by itself.
"""

SETTING = """
`configs/synthetic_hidden.py`: rendered people, one a picture, who are blurred or
covered in one or two of every four frames. The ViT starts from the weights that
ship, all else is new; 500 steps of 16 clips of three frames, 2.2 million
parameters. People are found in their true boxes, by 2 steps x 4 samples where
nothing else is said.

AP is over the chosen joints alone, ranked by score, right within half a head, mean
over types. *Hard* joints are covered (*occluded*) or of a person whose blur is
above 0.35 head sizes (*blurred*); *fast* people move by more than 0.08 head sizes
a frame. Intervals are bootstraps over videos and over runs, paired where a gain is
told; with one run they do not hold what another seed would change.
"""

MASKS = """
## What does the decoder see?

`python -m benchmarks.experiments.masks`

The decoder is shown noise alone, as at the first step; or the truth, or its own
first estimate, noised to a time (0.05: hardly). Were the noisy heatmaps used, the
error would fall with what they say.

- `full` as the configs for CPUs train it does not use them: shown the truth, all but
  clean, it errs as much as when it is shown nothing.
- Trained as in the paper it does, a little. It takes its own estimate for as much
  truth, though, and is worse for it at times in between: what several steps lose.
- `no lookup`, which sees each joint's heatmap, would halve its error if it were
  shown the truth, and is misled by its own estimate in proportion.

So the decoder does not fail to learn what the mask could tell; what it is shown at
inference does not know more than the decoder itself. In the picture, masks of the
network that is trained as in the paper, at the finest scale: they tell about where
the hips and wrists are, one number a cell for seventeen joints.
"""
MASK_TABLES = {
  "error": "squared error x 1000",
  "contrast": "mask, at joints over elsewhere",
}

EACH: dict[str, str] = {
  "ladder": """
One difference each: `single frame` and `temporal` have no diffusion, `no lookup`
concatenates in the place of the mask.
""",
  "refined": """
One run each, less than a seed may change by itself. None of it gets beyond the
network without diffusion; `self_aligned` and `start_weight` come nearer than the
paper's training does, and the estimate of the step before, joint by joint, adds nothing
that shows.
""",
  "hard": """
`configs/synthetic_hard.py`: up to four people who face anywhere, in clutter, cut
and covered. The small network finds a quarter of their joints, and what a frame
hides is not what it misses: every rung is the same, whatever it has. Left and right
are what it misses most: people are seen from behind as often as from the front, it
cannot tell which, and so the mean of both is its best estimate, with the two peaks of
a pair on the same side. Of the weights that every rung begins with, 0.7 % of the pairs
of other rendered people are right and 99 % at one place (`evaluate --metrics=sides`, on
the [model card's](model_card.md#left-and-right) easy people). The lookup cannot mend
it: its mask is one for all joints.
""",
  "jhmdb": """
JHMDB says nothing of hidden joints, so that all are *easy*; AP is of half a head, as
everywhere here.
""",
  "span": """
The whole method, with δ frames on each side. Here one or two of every four frames
hide a person's joints, so that the more neighbours, the more of them show it. The
price is the looking: 6, 8, 11 and 16 minutes of one core for δ of 0 to 3, which it
shared with other work at times.
""",
  "aligned": """
`train.self_aligned`, the share of the clips of a batch that are noised from the
network's own first estimate in the place of the truth. Half of them do what all of
them do; without any, two steps lose 0.7 AP of all joints, and of the hard ones as
much as a seed may change.
""",
  "signal": """
`diffusion.signal_scale`. By 2 steps x 4 samples of a network whose samples are all
but equal it does not matter.
""",
  "spread": """
`diffusion.spread`, the standard deviation of a joint's heatmap in its cells. Between 2
and the 3 of the configs there is no difference that shows with two seeds; the first
of them alone would have said 0.7 AP. (Losses are of different targets.)
""",
  "sampling": """
With `train.self_aligned=0.5` there is next to no spread for merging to use or for
`--adaptive` to tell people apart by: its first look, two samples of one step, is as
good for everybody as sixteen of sixteen.
""",
  "sampling-paper": """
With `train.self_aligned=0`. One sample of several steps loses what eight give back.
`--adaptive` gives everybody a first look, two samples of one step, and goes on with
those alone whose two disagree. Of what 4 steps x 16 samples gain over one sample of 4
steps, the first look alone has 77 % for 3 % of the evaluations, 83 % are had for 53 %
and 91 % for 78 %: who goes on gains little by it. By 4 steps x 8 samples, read before
this table had 16, it was 89 % for 6 %, 95 % for 16 % and 98 % for 46 %. Thresholds are
of the same people.
""",
  "distilled": """
`distill`, 300 iterations from the network that is trained as in the paper, taught by
its own 4 steps x 8 samples. One step and one sample of the student have 0.2 AP less
than what taught it and 0.4 less than the teacher's 16 samples; the teacher's own one
step has as much. What is new: a walk of four steps loses nothing any more, 80.3 with
one sample, where the teacher's has 79.4.
""",
  "stochastic": """
`--eta=1`, the network that is trained as in the paper. Little changes: 4 steps x 8
samples are 0.7 AP better on hard joints than without that noise, 2 and 8 steps
within 0.6 either way.
""",
  "second-order": """
`--solver=dpm2m`, the same network. It changes nothing that shows, and two steps not
at all: the first of them is of first order, and the last gives the estimate itself.
""",
}
