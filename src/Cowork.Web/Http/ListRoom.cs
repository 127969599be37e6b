using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>What a list may still show. A list is bounded by bytes, with the long texts of its rows; one that is cut shows its newest rows, and fewer than asked for.</summary>
sealed class ListRoom
{
    long left = PageBytes.Max;
    bool hasAny;

    /// <summary>Takes room for a row, whose texts may have to be read from the blob store. False: the list ends before it. The first always fits.</summary>
    public bool Takes(Row row, params ReadOnlySpan<Content?> texts) => Takes(row, copies: 1, texts);

    /// <inheritdoc cref="Takes(Row, ReadOnlySpan{Content?})"/>
    /// <param name="copies">How often the answer has the texts: clients of the original service find them under another name.</param>
    public bool Takes(Row row, int copies, params ReadOnlySpan<Content?> texts)
    {
        var bytes = (long)row.Json.Length;
        foreach (var text in texts)
        {
            bytes += text is Content.Blob blob ? blob.Bytes : 0;
        }
        left -= bytes * copies;
        var fits = left >= 0 || !hasAny;
        hasAny = true;
        return fits;
    }
}
