"""The named recipes: each is a function that returns one complete Recipe. What each claims stands in ``claims``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from modiste.errors import RecipeError
from modiste.recipes import networks
from modiste.recipes.plain import nearest
from modiste.recipes.recipe import (
    AugmentationRecipe,
    ByClassRecipe,
    DataRecipe,
    OptimizerRecipe,
    PretrainingRecipe,
    Recipe,
    ScheduleRecipe,
    TransferRecipe,
    load,
)

SETTLED = DataRecipe(validation_fraction=1 / 30)
"""58,000 images of Fashion-MNIST for training and 2,000 for validation, in place of 50,000 and 10,000.

For recipes whose settings were chosen on 10,000 and whose validation no longer selects anything."""


def paper() -> Recipe:
    """The paper's network exactly as its Listing 1: 896,906 parameters, Adam 0.001, batch 128, 50 epochs.

    Where the paper is silent Keras' defaults hold: Glorot-uniform weights, zero biases, Adam's epsilon 1e-7.
    """
    return Recipe(name="paper")


def paper_text() -> Recipe:
    """The network that the paper's prose describes: 64 then 32 filters, 2x2 kernels, 256 units, 412,778 parameters.

    The paper states 406,270 parameters, which neither this network nor its Listing 1 has.
    """
    model = networks.CNNRecipe(filters=(64, 32), kernel_size=2, hidden=(256,))
    return replace(paper(), name="paper-text", model=model)


def perceptron() -> Recipe:
    """A single-layer perceptron, the paper's section 3.1: one linear map from pixels to classes, 7,850 parameters.

    Logistic regression is the same model with the same loss.
    """
    return replace(paper(), name="perceptron", model=networks.MLPRecipe(), epochs=30)


def mlp() -> Recipe:
    """A multilayer perceptron, the paper's section 3.1: hidden layers of 256 and 128 units, 235,146 parameters."""
    return replace(paper(), name="mlp", model=networks.MLPRecipe(hidden=(256, 128)), epochs=30)


def _modern(name: str, model: networks.ModelRecipe, *, epochs: int) -> Recipe:
    """The settings that most networks share: AdamW, one cycle, flips and shifts, label smoothing, bfloat16."""
    return Recipe(
        name=name,
        epochs=epochs,
        precision="auto",
        standardize=True,
        label_smoothing=0.1,
        pick="last",
        model=model,
        augmentation=AugmentationRecipe(flip=True, shift=2),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=3e-3, weight_decay=0.05, epsilon=1e-8),
        schedule=ScheduleRecipe(shape="one-cycle", warm_up=0.2),
    )


def sprint() -> Recipe:
    """The paper's accuracy in the least time: one epoch of a small network, 207,098 parameters."""
    return Recipe(
        name="sprint",
        epochs=1,
        precision="auto",
        standardize=True,
        label_smoothing=0.1,
        warm_start="whitening",
        pick="last",
        model=networks.SprintRecipe(filters=(16, 32)),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=0.022, betas=(0.9, 0.95), epsilon=1e-8),
        schedule=ScheduleRecipe(shape="linear", warm_up=0.2),
        transfer=TransferRecipe(freeze=("network.convolutions.0",)),
    )


def sprint_93() -> Recipe:
    """93 % in the least time: five epochs of a wider network than that of `sprint`, with mirrored images."""
    recipe = sprint()
    return replace(
        recipe,
        name="sprint-93",
        epochs=5,
        model=networks.SprintRecipe(),
        mirror=True,
        augmentation=AugmentationRecipe(flip=True),
        optimizer=replace(recipe.optimizer, learning_rate=0.01),
    )


def sprint_94() -> Recipe:
    """94 % in the least time: ten epochs of a network with a residual block, 487,632 parameters."""
    return replace(
        sprint_93(),
        name="sprint-94",
        epochs=10,
        model=networks.SprintRecipe(filters=(18, 64), blocks=1),
        augmentation=AugmentationRecipe(flip=True, shift=1),
    )


def sprint_95() -> Recipe:
    """95 % in the least time: 26 epochs of residual blocks at two sizes, erasing, SGD; 2,061,626 parameters."""
    return replace(
        sprint_94(),
        name="sprint-95",
        epochs=26,
        batch_size=256,
        data=SETTLED,
        model=networks.SprintRecipe(filters=(16, 64, 128), early_blocks=1, blocks=1, hidden=256),
        augmentation=AugmentationRecipe(flip=True, shift=1, erase=0.25),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.2, weight_decay=5e-4),
    )


def _in_large_batches(recipe: Recipe, *, epochs: int, learning_rate: float) -> Recipe:
    """The recipe in batches of 512, which use more of a GPU and need another learning rate and more or fewer epochs."""
    return replace(
        recipe,
        epochs=epochs,
        batch_size=512,
        optimizer=replace(recipe.optimizer, learning_rate=learning_rate),
    )


def sprint_94_gpu() -> Recipe:
    """94 % in the least time on a GPU: `sprint-94` in batches of 512, which use more of it, for fourteen epochs."""
    return replace(_in_large_batches(sprint_94(), epochs=14, learning_rate=0.02), name="sprint-94-gpu")


def sprint_95_gpu() -> Recipe:
    """95 % in the least time on a GPU: `sprint-95` twice as wide, in batches of 512 for 16 epochs; 5.0 million.

    The time of its goal is for a process that has trained this network before.
    """
    recipe = _in_large_batches(sprint_95(), epochs=16, learning_rate=0.3)
    model = networks.SprintRecipe(filters=(16, 128, 256), early_blocks=1, blocks=1, hidden=256)
    return replace(recipe, name="sprint-95-gpu", model=model)


def sprint_96_gpu() -> Recipe:
    """96 % in the least time on a GPU: `sprint-95-gpu` for 76 epochs, three of four images partly erased; 5.0 million.

    Its goal is for two seeds that train side by side and average their probabilities.
    """
    recipe = sprint_95_gpu()
    augmentation = replace(recipe.augmentation, erase=0.75)
    return replace(recipe, name="sprint-96-gpu", epochs=76, augmentation=augmentation)


def photo() -> Recipe:
    """For people's own photos: `sprint-94` with images rotated by up to ten degrees.

    Rotation is what remains of a bad photo after the photo pipeline. The angle was chosen on simulated photos made from
    validation images. There, more augmentation (15 degrees, margins, blur and noise) lost as much as it gained.
    """
    recipe = sprint_94()
    return replace(recipe, name="photo", augmentation=replace(recipe.augmentation, rotate=10.0))


SHOES, TROUSER, DRESS = (5, 7, 9), 1, 3
"""Labels of Fashion-MNIST: sandals, sneakers and ankle boots; trousers; dresses."""


def photo_home() -> Recipe:
    """For photographs taken at home: the network of `sprint-93` on images changed as such photographs show garments.

    They are laid wider, turned, folded, printed, in other light, sharpened and partly hidden. Shoes come in pairs, and
    trousers with their legs apart.
    Trousers and dresses that are cut short teach what shorts and skirts look like, which are of none of the classes.
    """
    changes = AugmentationRecipe(flip=True, rotate=10.0, aspect=0.55, fold=0.02, pattern=0.1, tone=1.0, hide=0.1)
    by_class = ByClassRecipe(pair=SHOES, legs=(TROUSER,), outliers=0.1, upper=(TROUSER,), lower=(TROUSER, DRESS))
    return replace(sprint_93(), name="photo-home", epochs=10, augmentation=changes, by_class=by_class)


CLOTHING = (
    "dress=Dress",
    "longsleeve=Pullover+Shirt",
    "outwear=Coat",
    "pants=Trouser",
    "shirt=Shirt",
    "shoes=Sandal+Sneaker+Ankle boot",
    "t-shirt=T-shirt/top",
)
"""What the folders of clothing-dataset-small show; its hats, shorts and skirts are none of the ten."""


def photo_clothing() -> Recipe:
    """Learns from extra data: `photo-home`, with a share of each batch from the photographs of clothing-dataset-small.

    Get them with `modiste data fetch clothing`, or name a folder: `--data.extra FOLDER`. Its hats, shorts and skirts
    teach what is none of the ten classes.
    """
    recipe = photo_home()
    data = DataRecipe(extra="clothing", extra_classes=CLOTHING, extra_share=0.5)
    changes = replace(recipe.augmentation, aspect=0.4, tone=0.6)  # the photographs themselves show the rest
    by_class = replace(recipe.by_class, outliers=0.05)
    return replace(recipe, name="photo-clothing", data=data, augmentation=changes, by_class=by_class)


def inception() -> Recipe:
    """Parallel kernel sizes, which the paper tried and found "not as good" (its section 5): 206,138 parameters."""
    return _modern("inception", networks.InceptionRecipe(), epochs=15)


def resnet() -> Recipe:
    """Pre-activation residual network 16-2, 0.70 million parameters.

    The public one that it is compared with is a ResNet-20 of 0.27 million.
    """
    recipe = _modern("resnet", networks.ResNetRecipe(depth=16, width=2), epochs=30)
    return replace(
        recipe,
        mirror=True,
        augmentation=replace(recipe.augmentation, erase=0.25),
        optimizer=OptimizerRecipe(name="sgd", learning_rate=0.1, weight_decay=5e-4),
    )


def wide_resnet() -> Recipe:
    """Wide residual network 28-4 for a GPU: 5.9 million parameters, batches of 512, half the images partly erased."""
    recipe = _in_large_batches(resnet(), epochs=144, learning_rate=0.4)
    return replace(
        recipe,
        name="wide-resnet",
        data=SETTLED,
        model=networks.ResNetRecipe(depth=28, width=4),
        augmentation=replace(recipe.augmentation, erase=0.5),
    )


def dropconnect() -> Recipe:
    """DropConnect (Wan et al., 2013), the work that the paper cites as a deep belief network with 90.6 %."""
    return _modern("dropconnect", networks.DropConnectRecipe(), epochs=15)


def capsnet() -> Recipe:
    """Capsule network with dynamic routing (Sabour et al., 2017), with half their filters: 3.5 million parameters.

    The paper cites their work for 94.6 %, which it does not report.
    """
    recipe = _modern("capsnet", networks.CapsNetRecipe(filters=128), epochs=30)
    return replace(
        recipe,
        label_smoothing=0.0,
        objective="margin",
        warm_start="whitening",
        mirror=True,
        augmentation=AugmentationRecipe(flip=True, shift=1, erase=0.25),
        optimizer=OptimizerRecipe(name="adam", learning_rate=2e-3, epsilon=1e-8),
    )


def capsnet_gpu() -> Recipe:
    """`capsnet` with all the authors' filters and more epochs, for a GPU: 8.2 million parameters."""
    return replace(capsnet(), name="capsnet-gpu", epochs=100, data=SETTLED, model=networks.CapsNetRecipe())


def capsnet_deep() -> Recipe:
    """Capsules of our own: a deep stem, primary capsules that see the whole image, attention for routing."""
    recipe = _modern("capsnet-deep", networks.CapsNetRecipe(filters=192, stem="deep", routing="attention"), epochs=25)
    return replace(
        recipe,
        data=SETTLED,
        label_smoothing=0.0,
        objective="margin",
        mirror=True,
        augmentation=replace(recipe.augmentation, erase=0.25),
    )


def fashionnet() -> Recipe:
    """After FashionNet (Liu et al., 2016): VGG trunk, keypoint branch, global branch, 1.76 million parameters.

    It stands in for a work with 94.5 % that the paper cites and that could not be found.
    """
    return replace(_modern("fashionnet", networks.FashionNetRecipe(width=48), epochs=20), mirror=True)


def patch_graph() -> Recipe:
    """Graph convolutions over image patches (Han et al., 2022).

    It stands in for "FashGraphs", with 94.8 %, which the paper cites and which could not be found.
    """
    return replace(_modern("patch-graph", networks.PatchGraphRecipe(), epochs=20), mirror=True)


def patch_graph_gpu() -> Recipe:
    """`patch-graph` with four blocks of 192 channels, erasing and more epochs, for a GPU: 2.4 million parameters."""
    recipe = patch_graph()
    return replace(
        recipe,
        name="patch-graph-gpu",
        epochs=30,
        data=SETTLED,
        model=networks.PatchGraphRecipe(channels=192, blocks=4),
        augmentation=replace(recipe.augmentation, erase=0.25),
    )


def superpixel_graph() -> Recipe:
    """Graph attention between 49 superpixels, without convolution: what regions alone can tell. 65,326 parameters."""
    return _modern("superpixel-graph", networks.SuperpixelGraphRecipe(), epochs=12)


def dbn() -> Recipe:
    """Deep belief network (Hinton et al., 2006): two machines of 2,048 units, then fine-tuning; 5.8 million parameters.

    Half the units without shifts, fine-tuned for 50 epochs, reached 90.8 % on validation in two minutes.
    The paper cites 90.6 % from a work about something else.
    """
    return Recipe(
        name="dbn",
        epochs=150,
        precision="auto",
        model=networks.DBNRecipe(hidden=(2048, 2048), dropout=0.2),
        warm_start="contrastive-divergence",
        augmentation=AugmentationRecipe(flip=True, shift=1),
        optimizer=OptimizerRecipe(name="adam", learning_rate=1e-3, epsilon=1e-8),
        schedule=ScheduleRecipe(shape="cosine"),
    )


def dbn_frozen() -> Recipe:
    """One wide machine trained by contrastive divergence alone, with a linear layer on top.

    Two machines of 1,024 units, trained a third as long, were worse on validation: 86.6 % against 88.1 %.
    Both linear layers were trained for 25 epochs at a third of the rate.
    """
    return replace(
        dbn(),
        name="dbn-frozen",
        model=networks.DBNRecipe(hidden=(2048,), frozen=True),
        epochs=60,
        augmentation=AugmentationRecipe(),
        optimizer=OptimizerRecipe(name="adam", learning_rate=3e-3, epsilon=1e-8),
        pretraining=PretrainingRecipe(epochs=30),
    )


def simclr() -> Recipe:
    """A residual network of 10 layers trained without labels (Chen et al., 2020), then its last layer with labels.

    It measures a linear layer on features learnt without labels, and is a source for `--transfer-from`. After its five
    epochs, training from it gained little on validation (one seed): 67.7 % against 67.8 % from scratch with 10 labels
    per class, 82.2 % against 81.8 % with 100.
    """
    return Recipe(
        name="simclr",
        epochs=3,
        precision="auto",
        standardize=True,
        pick="last",
        model=networks.ResNetRecipe(depth=10),
        warm_start="simclr",
        optimizer=OptimizerRecipe(name="adamw", learning_rate=3e-3, epsilon=1e-8),
        schedule=ScheduleRecipe(shape="one-cycle", warm_up=0.2),
        transfer=TransferRecipe(freeze=("network.stem", "network.stages", "network.norm")),
    )


LITE0 = "39763c19519e2bd7c2c81cbf1bf38933652dda051385e2b4214c4ed2b5d07b15"
LITE2 = "542feb0faa611992ceb4032aad47f50c6102ddadf9beeed1fc833aa22d353ed2"
"""SHA-256 of the weights of EfficientNet-Lite0 and 2; ``training.transfer.backbones`` says where they come from."""


def backbone_linear() -> Recipe:
    """For your own photos: logistic regression on the features of EfficientNet-Lite0, which was trained on ImageNet."""
    trunk = ("network.stem", "network.blocks", "network.features")
    return Recipe(
        name="backbone-linear",
        epochs=0,
        precision="auto",
        data=DataRecipe(pictures="whole", side=224, colour=True),
        model=networks.EfficientNetLiteRecipe(),
        transfer=TransferRecipe(source=LITE0, freeze=trunk, linear_probe=True),
    )


def backbone_tuned() -> Recipe:
    """For your own photos: `backbone-linear`, and then the last five of the network's 16 blocks trained with it.

    So is the 1 x 1 convolution between these blocks and the linear layer.
    """
    linear = backbone_linear()
    return replace(
        linear,
        name="backbone-tuned",
        epochs=2,
        batch_size=64,
        label_smoothing=0.1,
        ema_decay=0.99,
        mirror=True,
        pick="last",
        augmentation=AugmentationRecipe(flip=True, resized_crop=0.6, colour=0.3),
        optimizer=OptimizerRecipe(name="adamw", learning_rate=5e-4, weight_decay=0.05, epsilon=1e-8),
        schedule=ScheduleRecipe(shape="one-cycle", warm_up=0.3),
        transfer=replace(linear.transfer, freeze=_all_but_late_blocks(range(11, 15)), keep_statistics=True),
    )


def backbone_tuned_lite2() -> Recipe:
    """For your own photos: `backbone-tuned` with the last nine of the 21 blocks of EfficientNet-Lite2, for longer."""
    tuned = backbone_tuned()
    return replace(
        tuned,
        name="backbone-tuned-lite2",
        epochs=6,
        ema_decay=0.998,
        data=replace(tuned.data, side=260),
        model=networks.EfficientNetLiteRecipe(size=2),
        augmentation=AugmentationRecipe(flip=True, resized_crop=0.75, colour=0.4, erase=0.25),
        optimizer=replace(tuned.optimizer, learning_rate=6e-4),
        schedule=replace(tuned.schedule, warm_up=0.1),
        transfer=replace(tuned.transfer, source=LITE2, freeze=_all_but_late_blocks(range(12, 20))),
    )


def _all_but_late_blocks(late: range) -> tuple[str, ...]:
    """Return what is not trained in EfficientNet-Lite if the blocks from ``late`` on are.

    In the blocks of ``late`` the filters of single channels, 5 x 5 each, stay as published too: they are 3 to 4 % of
    the weights, and their gradients would take most of the time.
    """
    before = (f"network.blocks.{number}." for number in range(late.start))
    filters = (f"network.blocks.{number}.filter.convolution" for number in late)
    return ("network.stem", *before, *filters)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "paper": paper,
    "paper-text": paper_text,
    "perceptron": perceptron,
    "mlp": mlp,
    "sprint": sprint,
    "sprint-93": sprint_93,
    "sprint-94": sprint_94,
    "sprint-95": sprint_95,
    "sprint-94-gpu": sprint_94_gpu,
    "sprint-95-gpu": sprint_95_gpu,
    "sprint-96-gpu": sprint_96_gpu,
    "photo": photo,
    "photo-home": photo_home,
    "photo-clothing": photo_clothing,
    "inception": inception,
    "resnet": resnet,
    "wide-resnet": wide_resnet,
    "dropconnect": dropconnect,
    "capsnet": capsnet,
    "capsnet-gpu": capsnet_gpu,
    "capsnet-deep": capsnet_deep,
    "fashionnet": fashionnet,
    "patch-graph": patch_graph,
    "patch-graph-gpu": patch_graph_gpu,
    "superpixel-graph": superpixel_graph,
    "dbn": dbn,
    "dbn-frozen": dbn_frozen,
    "simclr": simclr,
    "backbone-linear": backbone_linear,
    "backbone-tuned": backbone_tuned,
    "backbone-tuned-lite2": backbone_tuned_lite2,
}
"""A function for each recipe, by name: ``RECIPES["sprint"]()`` returns it, as ``get_recipe("sprint")`` does."""


def get(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        RecipeError: No recipe has this name; the message says which is nearest.

    Example:
        >>> from modiste.recipes import named
        >>> named.get("sprint-93").epochs
        5
    """
    if name not in RECIPES:
        raise RecipeError(f"recipe {name!r} is unknown; {nearest(name, RECIPES)}")
    return RECIPES[name]()


def find(name: str) -> Recipe:
    """Return the recipe of this name, or of this .toml or .json file.

    Raises:
        RecipeError: No recipe has this name, or the file holds none.
    """
    if name.lower().endswith((".toml", ".json")):
        return load(Path(name))
    if Path(name).suffix or "/" in name:  # as names of recipes have not
        raise RecipeError(f"{name}: expected the name of a recipe, or a .toml or .json file; see modiste recipes")
    return get(name)
