"""The paper's networks, built for the input shape and class count of a dataset."""

from dst.models.build import build_model, model_of
from dst.models.cnn import VGG16, LeNet5, LeNet5Caffe, PlainVGG16, SmallCNN
from dst.models.mlp import MLP
from dst.models.resnet import CifarResNet
from dst.models.timm import from_timm
from dst.models.torchvision import from_torchvision, small_image_resnet
from dst.models.transformers import TextClassifier, from_transformers

__all__ = [
    "MLP",
    "VGG16",
    "CifarResNet",
    "LeNet5",
    "LeNet5Caffe",
    "PlainVGG16",
    "SmallCNN",
    "TextClassifier",
    "build_model",
    "from_timm",
    "from_torchvision",
    "from_transformers",
    "model_of",
    "small_image_resnet",
]
