"""Annotations as Pascal VOC and ILSVRC have them, written by the standard library."""

from xml.etree import ElementTree


def annotation(filename, *objects, **more):
    """XML of objects (name, xmin, ymin, xmax, ymax); `more` are further elements of each."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = filename
    for name, *box in objects:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = name
        for key, value in more.items():
            ElementTree.SubElement(item, key).text = value
        bounds = ElementTree.SubElement(item, "bndbox")
        for side, edge in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(bounds, side).text = str(edge)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
