using System.Buffers.Binary;
using System.Buffers.Text;
using System.Globalization;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.AspNetCore.Http.Extensions;
using Microsoft.AspNetCore.WebUtilities;

namespace Cowork.Web.Http;

/// <summary>A page of a list that is newest first: what the list is of, its moment, and where the page begins.</summary>
/// <param name="List">Name of the list: an operation, and the ids in its path.</param>
/// <param name="Filter">The query parameters that choose what is in it, as a query.</param>
/// <param name="Moment">Position of the log when the first page was read, or the one that <c>as_of</c> names; null: the list does not keep one.</param>
/// <param name="Before">Only rows made before this position; null: the page is the first.</param>
sealed record ListPage(string List, string Filter, long? Moment, long? Before);

/// <summary>
/// Cursors of lists whose rows keep their places: newest first by the position at which they were made. A page begins where the one before ended, so that nothing moves while
/// others write. A cursor keeps what its list is of, and is signed under the master key, which all hosts of a database have, together with the tenant.
/// </summary>
static class ListCursors
{
    const string Purpose = "cowork list cursor";

    const byte Form = 1;

    const int SignatureBytes = 16;

    const int HeadBytes = 1 + (2 * sizeof(long));

    /// <summary>More than the filters of any list have.</summary>
    const int CharsMax = 16_384;

    public static TextQuery Cursor { get; } = new("cursor", "", "next_cursor of the page before. It keeps the filters: leave them out, or send the same.");

    /// <summary>
    /// Reads which page is asked for. A cursor's filters take the place of the request's query, so that whoever reads a parameter after this reads those.
    /// </summary>
    /// <param name="list">Name of the list.</param>
    /// <param name="filters">Names of the parameters that choose what is in it.</param>
    /// <exception cref="UnreadableRequestException">The cursor is none of this list's.</exception>
    public static ListPage Enter(HttpContext http, string list, params ReadOnlySpan<string> filters)
    {
        var query = http.Request.Query;
        if (query[Cursor.Name] is not [{ Length: > 0 } sent])
        {
            var chosen = new QueryBuilder();
            foreach (var name in filters)
            {
                if (query.TryGetValue(name, out var values) && values is [{ Length: > 0 } value])
                {
                    chosen.Add(name, value);
                }
            }
            return new(list, chosen.ToString(), null, null);
        }
        var page = Read(http, list, sent) ?? throw Unknown();
        var kept = QueryHelpers.ParseQuery(page.Filter);
        foreach (var name in filters)
        {
            if (query.TryGetValue(name, out var beside) && (!kept.TryGetValue(name, out var was) || was != beside))
            {
                throw Unknown();
            }
        }
        foreach (var (name, value) in query)
        {
            kept[name] = value;
        }
        http.Request.Query = new QueryCollection(kept);
        return page;
    }

    /// <summary>The same of a list that takes <c>as_of</c>, with the view of its moment, which a cursor keeps.</summary>
    public static (ListPage Page, ReadView View) Enter(HttpContext http, ReadView view, string list, params ReadOnlySpan<string> filters)
    {
        var page = Enter(http, list, [.. filters, AsOf.Name]);
        return page is { Before: not null, Moment: { } moment } && QueryHelpers.ParseQuery(page.Filter).ContainsKey(AsOf.Name)
            ? (page, ReadView.At(http, moment))
            : (page with { Moment = page.Moment ?? view.Position }, view);
    }

    /// <summary>The cursor of the page that goes on behind a row.</summary>
    /// <param name="created">Position at which the row was made.</param>
    public static string After(this ListPage page, HttpContext http, long created)
    {
        var filter = Encoding.UTF8.GetBytes(page.Filter);
        var written = new byte[HeadBytes + filter.Length + SignatureBytes];
        written[0] = Form;
        BinaryPrimitives.WriteInt64BigEndian(written.AsSpan(1), page.Moment ?? -1);
        BinaryPrimitives.WriteInt64BigEndian(written.AsSpan(9), created);
        filter.CopyTo(written, HeadBytes);
        Keys(http).Sign(Purpose, Signed(http, page.List, written.AsSpan(0, HeadBytes + filter.Length)))[..SignatureBytes].CopyTo(written.AsSpan(HeadBytes + filter.Length));
        return Base64Url.EncodeToString(written);
    }

    /// <summary>The cursor behind the last row that a page shows; null: there is no further row.</summary>
    /// <param name="found">The rows that were read: one more than the page may show, or fewer where they have many bytes.</param>
    /// <param name="shown">How many of them the page shows.</param>
    public static string? Next(this ListPage page, HttpContext http, IReadOnlyList<Row> found, int shown) =>
        shown > 0 && (shown < found.Count || found.Sum(row => (long)row.Json.Length) > PageBytes.Max) ? page.After(http, found[shown - 1].Created) : null;

    static ListPage? Read(HttpContext http, string list, string text)
    {
        if (text.Length > CharsMax || !Base64Url.IsValid(text))
        {
            return null;
        }
        var read = Base64Url.DecodeFromChars(text);
        if (read.Length < HeadBytes + SignatureBytes || read[0] != Form || Base64Url.EncodeToString(read) != text)
        {
            return null;
        }
        var body = read.AsSpan(0, read.Length - SignatureBytes);
        if (!Keys(http).IsSigned(Purpose, Signed(http, list, body), read.AsSpan(body.Length)))
        {
            return null;
        }
        var moment = BinaryPrimitives.ReadInt64BigEndian(body[1..]);
        return new(list, Encoding.UTF8.GetString(body[HeadBytes..]), moment < 0 ? null : moment, BinaryPrimitives.ReadInt64BigEndian(body[9..]));
    }

    static byte[] Signed(HttpContext http, string list, ReadOnlySpan<byte> cursor) =>
        [.. cursor, .. Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\n{Caller.Of(http).Org}\n{list}"))];

    static MasterKeyring Keys(HttpContext http) => http.RequestServices.GetRequiredService<MasterKeyring>();

    static UnreadableRequestException Unknown() => new(ErrorResult.Invalid(
        Cursor.Name, "Is no cursor of this list, or comes with other filters than its own. Begin with the first page.", "unknown_cursor"));
}
