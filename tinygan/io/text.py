"""What files may have for names and metadata: text that UTF-8 can hold."""


def is_text(word):
    """Whether it is a str without half a character, as a file's name of odd bytes has in Python."""
    if not isinstance(word, str):
        return False
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_text_by_name(metadata):
    """Whether it is a dict of text by text."""
    if not isinstance(metadata, dict):
        return False
    return all(is_text(word) for pair in metadata.items() for word in pair)
