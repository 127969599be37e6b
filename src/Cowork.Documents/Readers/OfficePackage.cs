using System.IO.Compression;
using System.IO.Packaging;
using System.Xml;

using Cowork.Domain;

using DocumentFormat.OpenXml.Packaging;

namespace Cowork.Documents;

/// <summary>
/// Reads the XML of an Office document's parts piece by piece. It resolves no entity and no external reference, and takes no document type, so that nothing expands;
/// it stops when the parts unpack to more than <see cref="UnpackedBytesMax"/>, whatever the archive says about their sizes.
/// </summary>
sealed class OfficePackage
{
    /// <summary>Parts of an archive that is read as a document: a long presentation has some thousand.</summary>
    public const int PartsMax = 20_000;

    /// <summary>A part of this size whose bytes are so many times those of its archive says the same again and again: cells of a workbook come to a tenth of this.</summary>
    const long BombBytes = 128L << 20;
    const int BombRatio = 250;

    /// <summary>Sixteen million cells of a workbook have about as much XML.</summary>
    const long UnpackedBytesMax = 1L << 30;

    static readonly XmlReaderSettings Settings = new()
    {
        DtdProcessing = DtdProcessing.Prohibit,
        XmlResolver = null,
        IgnoreComments = true,
        IgnoreProcessingInstructions = true,
        CheckCharacters = false,
    };

    long unpacked;

    /// <summary>True for a part that is packed to unpack without end. No more than its declared length is ever unpacked of a part.</summary>
    public static bool IsBomb(ZipArchiveEntry entry) => entry.Length > BombBytes && entry.Length / BombRatio > entry.CompressedLength;

    /// <summary>Opens the archive here: of a stream that cannot be written, the library makes a file.</summary>
    public static Package Open(FileStream file) => Package.Open(file, FileMode.Open, FileAccess.Read);

    public XmlReader Read(OpenXmlPart part) => XmlReader.Create(new CountedStream(part.GetStream(FileMode.Open, FileAccess.Read), this), Settings);

    /// <summary>The text of a part: its runs, with a line for each paragraph and row, and a tab after each cell.</summary>
    /// <param name="markOf">The character that an element stands for; null: none.</param>
    /// <returns>True: the time is over, and there is more.</returns>
    public bool WriteText(OpenXmlPart part, TextSink sink, Func<string, char?> markOf, ReadingTime time)
    {
        using var xml = Read(part);
        var isText = false;
        for (var nodes = 0L; xml.Read(); nodes++)
        {
            if (nodes % 4096 == 0 && time.IsOver)
            {
                return true;
            }
            switch (xml.NodeType)
            {
                case XmlNodeType.Element:
                    isText = xml.LocalName == "t" && !xml.IsEmptyElement;
                    if (markOf(xml.LocalName) is { } mark)
                    {
                        sink.Write(mark);
                    }
                    break;
                case XmlNodeType.EndElement:
                    isText = false;
                    switch (xml.LocalName)
                    {
                        case "p" or "tr":
                            sink.EndLine();
                            break;
                        case "tc":
                            sink.Write('\t');
                            break;
                    }
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace or XmlNodeType.Whitespace when isText:
                    sink.Write(xml.Value);
                    break;
            }
        }
        return false;
    }

    /// <summary>The part of a relationship; null: there is none, or it lies outside of the document.</summary>
    public static T? Part<T>(OpenXmlPartContainer of, string? relationship)
        where T : OpenXmlPart =>
        relationship is not null && of.Parts.FirstOrDefault(p => p.RelationshipId == relationship) is { OpenXmlPart: T part } ? part : null;

    void Count(int bytes)
    {
        unpacked += bytes;
        if (unpacked > UnpackedBytesMax)
        {
            throw new DocumentException(DocumentFaults.CompressionBomb, "The document unpacks to far more than a document of its size should.");
        }
    }

    sealed class CountedStream(Stream inner, OfficePackage package) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            var read = inner.Read(buffer);
            package.Count(read);
            return read;
        }

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
            }
            base.Dispose(disposing);
        }
    }
}
