using System.Text;

namespace Cowork.Domain;

/// <summary>The names of uploaded files.</summary>
public static class FileNames
{
    /// <summary>The name without the folders that a client sent with it; null: it is none, and <paramref name="why"/> says why.</summary>
    /// <param name="sent">As it came, with <c>/</c> or <c>\</c> between folders.</param>
    public static string? Read(string sent, out string? why)
    {
        var name = sent[(sent.AsSpan().LastIndexOfAny('/', '\\') + 1)..];
        why = string.IsNullOrWhiteSpace(name) || name is "." or ".." ? "A file has a name."
            : !StorableText.IsStorable(name) || name.Any(char.IsControl) ? "A file's name has no control characters."
            : Encoding.UTF8.GetByteCount(name) > Limits.FileNameBytesMax ? $"A file's name has at most {Limits.FileNameBytesMax} bytes in UTF-8."
            : null;
        return why is null ? name : null;
    }
}
