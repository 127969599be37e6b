using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: the body is a form of <c>multipart/form-data</c> that is read as it comes.</summary>
/// <param name="Shape">A record with the form's fields.</param>
public sealed record TakesForm(Type Shape);

/// <summary>The file of a form, whose content is in the blob store.</summary>
/// <param name="Name">Without folders.</param>
/// <param name="DeclaredMediaType">Null: the form has none, or one that is no media type.</param>
/// <param name="Start">The content's first bytes.</param>
public sealed record ReceivedFile(string Name, string? DeclaredMediaType, string Sha256, long Bytes, ReadOnlyMemory<byte> Start);

/// <summary>
/// A form with one file (RFC 7578), read as it comes: the file goes into the blob store piece by piece, wherever in the form it stands. Nothing names what is stored
/// before the whole form was read, so that a form that ends in the middle leaves nothing that a sweep of the blob store does not remove.
/// </summary>
/// <param name="Fields">The known ones, by name.</param>
public sealed record UploadForm(ReceivedFile File, IReadOnlyDictionary<string, string> Fields)
{
    public const string FileField = "file";

    /// <summary>Bytes of the form beside its file: boundaries, headers, fields.</summary>
    const long OtherBytesMax = 256 * 1024;

    const int PartsMax = 32;
    const int FieldBytesMax = 4 * 1024;
    const int HeaderBytesMax = 16 * 1024;

    /// <summary>RFC 2046, section 5.1.1.</summary>
    const int BoundaryCharsMax = 70;

    /// <summary>What is read of a body at once.</summary>
    const int BufferBytes = 64 * 1024;

    static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Reads the form of a request to its end.</summary>
    /// <param name="known">Names of the fields that are kept; others are read and dropped.</param>
    /// <param name="fileBytesMax">The largest file.</param>
    /// <exception cref="UnreadableRequestException">The form is none, is broken, too large or too slow, or has no file or more than one.</exception>
    public static async ValueTask<UploadForm> Read(HttpContext http, IBlobs blobs, IReadOnlyCollection<string> known, long fileBytesMax)
    {
        var boundary = BoundaryOf(http.Request);
        var tooLarge = TooLarge(fileBytesMax);
        if (http.Request.ContentLength > fileBytesMax + OtherBytesMax)
        {
            throw new UnreadableRequestException(tooLarge);
        }
        // The body has its own limits. The server's is for bodies that are held in memory.
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size)
        {
            size.MaxRequestBodySize = null;
        }
        var ct = http.RequestAborted;
        await using var body = new UploadBody(http, fileBytesMax + OtherBytesMax, tooLarge);
        var parts = new MultipartReader(boundary, body, BufferBytes) { HeadersCountLimit = 16, HeadersLengthLimit = HeaderBytesMax };
        var fields = new Dictionary<string, string>(StringComparer.Ordinal);
        ReceivedFile? file = null;
        var isWhole = false;
        try
        {
            for (var count = 0; await Translated(() => parts.ReadNextSectionAsync(ct)) is { } part; count++)
            {
                if (count == PartsMax)
                {
                    throw Invalid("form", $"A form has at most {PartsMax} parts.");
                }
                // A form that ends within a boundary seems to have another part, without headers.
                if (!ContentDispositionHeaderValue.TryParse(part.ContentDisposition, out var disposition)
                    || !disposition.DispositionType.Equals("form-data", StringComparison.OrdinalIgnoreCase)
                    || HeaderUtilities.RemoveQuotes(disposition.Name).Value is not { Length: > 0 } name)
                {
                    throw Malformed("A part of the form has no header Content-Disposition: form-data with a name.");
                }
                await using var content = new PartBody(part.Body, name == FileField ? fileBytesMax : FieldBytesMax, name == FileField ? tooLarge : null);
                if (name == FileField)
                {
                    file = file is null ? await Store(part, disposition, content, blobs, ct) : throw Invalid(FileField, "Is given twice: a form has one file.");
                }
                else if (known.Contains(name))
                {
                    if (!fields.TryAdd(name, await Text(name, content, ct)))
                    {
                        throw Invalid(name, "Is given twice.");
                    }
                }
                else
                {
                    await Bytes(name, content, ct);
                }
            }
            isWhole = true;
            return file is null ? throw Invalid(FileField, "Is required: a part with a file name and the file's bytes.") : new(file, fields);
        }
        finally
        {
            if (file is not null && !isWhole)
            {
                // Whose it is was perhaps still to come.
                await blobs.Discard(file.Sha256, CancellationToken.None);
            }
        }
    }

    /// <summary>The error of a file that is too large.</summary>
    static ErrorResult TooLarge(long bytesMax) => new(413, "file_too_large", $"A file may have at most {bytesMax} bytes.");

    static string BoundaryOf(HttpRequest request)
    {
        if (!MediaTypeHeaderValue.TryParse(request.ContentType, out var type) || !type.MediaType.Equals("multipart/form-data", StringComparison.OrdinalIgnoreCase))
        {
            throw new UnreadableRequestException(new ErrorResult(415, "unsupported_media_type", "The body must be a form with the file: Content-Type: multipart/form-data."));
        }
        RequestContent.RequireUncompressed(request);
        return HeaderUtilities.RemoveQuotes(type.Boundary).Value is { Length: > 0 and <= BoundaryCharsMax } boundary ? boundary
            : throw Malformed($"The header Content-Type names no boundary of 1 to {BoundaryCharsMax} characters.");
    }

    static async ValueTask<ReceivedFile> Store(MultipartSection part, ContentDispositionHeaderValue disposition, PartBody content, IBlobs blobs, CancellationToken ct)
    {
        var sent = disposition.FileNameStar.Value ?? (disposition.FileName.HasValue ? Unescaped(HeaderUtilities.RemoveQuotes(disposition.FileName).Value!) : null);
        if (sent is null)
        {
            throw Invalid(FileField, "The part has no file name.");
        }
        var name = FileNames.Read(sent, out var why) ?? throw Invalid(FileField, why!);
        var declared = part.ContentType is { Length: > 0 and <= Limits.MediaTypeCharsMax } text && text.All(c => c is >= ' ' and <= '~')
            && MediaTypeHeaderValue.TryParse(text, out _)
                ? text
                : null;
        var (sha256, bytes) = await blobs.Put(content, ct);
        return new(name, declared, sha256, bytes, content.Start);
    }

    /// <summary>The bytes of a field, whatever they are.</summary>
    static async ValueTask<ReadOnlyMemory<byte>> Bytes(string name, PartBody content, CancellationToken ct)
    {
        using var bytes = new MemoryStream();
        await content.CopyToAsync(bytes, ct);
        return content.IsCut ? throw Invalid(name, $"Has more than {FieldBytesMax} bytes.") : bytes.GetBuffer().AsMemory(0, (int)bytes.Length);
    }

    static async ValueTask<string> Text(string name, PartBody content, CancellationToken ct)
    {
        try
        {
            return Utf8.GetString((await Bytes(name, content, ct)).Span);
        }
        catch (DecoderFallbackException)
        {
            throw Invalid(name, "Is not UTF-8.");
        }
    }

    /// <summary>A name as browsers (percent signs, WHATWG) and other clients (a backslash) write it between quotes.</summary>
    static string Unescaped(string name) => name
        .Replace("\\\"", "\"", StringComparison.Ordinal).Replace("%22", "\"", StringComparison.Ordinal)
        .Replace("%0D", "\r", StringComparison.OrdinalIgnoreCase).Replace("%0A", "\n", StringComparison.OrdinalIgnoreCase);

    /// <summary>What is wrong with the form is no fault of the disk or the connection, whose exceptions look the same.</summary>
    static async ValueTask<T> Translated<T>(Func<Task<T>> read)
    {
        try
        {
            return await read();
        }
        catch (Exception e) when (e is InvalidDataException || (e is IOException && e.GetType() == typeof(IOException)))
        {
            throw Malformed("The form is broken: it ends too early, or a part's headers are none or too long.");
        }
    }

    static UnreadableRequestException Malformed(string detail) => new(new ErrorResult(400, "malformed_form", detail));

    static UnreadableRequestException Invalid(string path, string detail) => new(ErrorResult.Invalid(path, detail));

    /// <summary>The body of a part.</summary>
    /// <param name="bytesMax">Most bytes of it.</param>
    /// <param name="tooLarge">The error of a larger one; null: it is cut.</param>
    sealed class PartBody(Stream inner, long bytesMax, ErrorResult? tooLarge) : ReadOnlyStream
    {
        /// <summary>As much as tells what a file is.</summary>
        const int StartBytes = 4 * 1024;

        readonly MemoryStream start = new();
        long received;

        /// <summary>The first bytes of what was read.</summary>
        public ReadOnlyMemory<byte> Start => start.ToArray();

        /// <summary>The part is larger than it may be.</summary>
        public bool IsCut { get; private set; }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (IsCut)
            {
                return 0;
            }
            var read = await Translated(() => inner.ReadAsync(buffer, cancellationToken).AsTask());
            start.Write(buffer.Span[..(int)Math.Min(read, StartBytes - start.Length)]);
            received += read;
            if (received <= bytesMax)
            {
                return read;
            }
            IsCut = tooLarge is null ? true : throw new UnreadableRequestException(tooLarge);
            return 0;
        }
    }
}
