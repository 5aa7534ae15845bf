"""What the figures and the columns of a report say, for readers who know image classifiers."""

FIGURES = {
    "Pareto front": "Each point is an architecture: the model without the attention of the layers "
    "in braces. The Pareto front holds those that no other beats in accuracy, throughput and "
    "memory at once; the dotted line joins those that are best in accuracy and speed-up. Top-1 is "
    "the share of evaluation images whose most probable class is the right one. Speed-up is the "
    "throughput over the unpruned model's, both timed in turn. Memory is the peak of one forward "
    "pass, weights included. A trial that was stopped early had less training than the others. "
    "Rings mark the removal sets of Lin et al. (arXiv 2404.05657) and the seeds of the search "
    "space.",
    "Removed layers": "Each row is an architecture of the front, the slowest on top; a blue cell "
    "is a layer without attention, whose block applies only its MLP.",
    "Prior of each layer": "The prior is what was measured before any trial. Entropy is that of a "
    "Gaussian fitted to the outputs of a branch, without constants: the sum over channels of the "
    "logarithm of their standard deviation. Transfer entropy is the fall in the entropy of the "
    "model's output when one layer loses its attention. Relative entropy is the Kullback-Leibler "
    "divergence between the class probabilities with and without that attention: the closer to "
    "zero, the less the layer is needed. A nat is the unit of entropies with natural logarithms, "
    "1.44 bits. The high-frequency share is the part of the outputs' spatial variance that is fine "
    "detail; its lines follow the greedy path, which removes the layer with the smallest score "
    "next.",
    "Prior score and accuracy": "The score is the relative entropy that the prior predicts for the "
    "whole architecture. Spearman's rank correlation is -1 if a lower score always came with a "
    "higher accuracy, and 0 if the score says nothing. A rung is a stage of a trial: rung 0 is "
    "the repair, each later one a slice of training.",
    "Hypervolume": "The hypervolume sums up the front in one number: the volume that it dominates, "
    "measured by accuracy, speed-up and the saved share of memory. It grows "
    "whenever the front does.",
    "Time spent": "Grey bars are stages before the first trial. In rung 0 the layers around the "
    "removed attention are refitted in closed form and the accuracy is measured; each later rung "
    "trains for a few steps first. The last bar is the rest of the runs.",
}
"""What each figure of ``all_figures`` shows, by its title."""

COLUMNS = {
    "state": "front: no other trial beats it in accuracy, throughput and memory at once; "
    "completed: evaluated in all rungs; stopped early: no longer promising after some rungs",
    "architecture": "the layers without attention, and how tokens are merged",
    "top-1 (%)": "share of evaluation images whose most probable class is the right one",
    "change (points)": "top-1 minus the unpruned model's, in points of a percent",
    "speed-up": "images/s over the unpruned model's",
    "images/s": "throughput, alone on the device",
    "memory (MB)": "peak of one forward pass, weights included; a MB is a million bytes",
    "params (M)": "millions of parameters",
    "MACs (G)": "billions of multiply-accumulates per image",
    "rungs": "stages that the trial ran: the repair and the slices of training",
    "prior score (nats)": "predicted relative entropy of the predictions without these layers",
    "time (s)": "of all rungs of the trial",
}
"""What each column of the table of trials holds."""
