using Xunit;

using static Cowork.Domain.UploadedFileCommand;
using static Cowork.Domain.UploadedFileEvent;

namespace Cowork.Domain.Tests;

public sealed class UploadedFileSpec
{
    static readonly Spec<FileKey, UploadedFileCommand, UploadedFileEvent, UploadedFile> Spec = new(UploadedFile.Aggregate);
    static readonly FileKey File = FileKey.FromId("file_01kdvkjr000000000000000009");
    static readonly FileUpload Report = new("Q2.pdf", "application/pdf", "application/pdf", new string('a', 64), 204_800, A.Project, A.Session);
    static readonly FileUploaded Uploaded = new(File, "Q2.pdf", "application/pdf", "application/pdf", new string('a', 64), 204_800, A.Project, A.Session, A.Morning);
    static readonly FileTextExtracted Extracted = new("application/pdf", new string('b', 64), 7, IsCut: false, A.Morning);
    static readonly FileExtractionFailed Failed = new("application/pdf", "encrypted_document", "It has a password.", A.Morning);

    [Fact]
    public void A_file_is_uploaded_once()
    {
        Spec.Given().When(new Upload(File, Report, A.Morning)).Then(Uploaded);
        Spec.Given(Uploaded).When(new Upload(File, Report, A.Morning)).ThenNothing();
        Spec.Given(Uploaded, Extracted).When(new Upload(File, Report, A.Morning)).ThenNothing();
    }

    [Fact]
    public void Its_text_is_recorded_once_whoever_extracts_it_again()
    {
        var text = new RecordText("application/pdf", new string('b', 64), 7, IsCut: false, A.Morning);
        var failure = new RecordFailure("application/pdf", "encrypted_document", "It has a password.", A.Morning);
        Spec.Given(Uploaded).When(text).Then(Extracted);
        Spec.Given(Uploaded).When(failure).Then(Failed);
        Spec.Given(Uploaded, Extracted).When(failure).ThenNothing();
        Spec.Given(Uploaded, Failed).When(text).ThenNothing();
    }

    [Fact]
    public void A_deleted_file_is_not_found()
    {
        Spec.Given(Uploaded).When(new Delete(A.Morning)).Then(new FileDeleted(A.Morning));
        Spec.Given(Uploaded, Failed).When(new Delete(A.Morning)).Then(new FileDeleted(A.Morning));
        UploadedFileCommand[] commands =
        [
            new Upload(File, Report, A.Morning), new RecordText("text/plain", "", 0, IsCut: false, A.Morning), new RecordFailure("text/plain", "x", "X.", A.Morning),
            new Delete(A.Morning),
        ];
        foreach (var command in commands)
        {
            Spec.Given(Uploaded, new FileDeleted(A.Morning)).When(command).ThenRefused("not_found");
        }
        Spec.Given().When(new Delete(A.Morning)).ThenRefused("not_found");
    }

    [Theory]
    [InlineData("Q2-report.pdf", "Q2-report.pdf")]
    [InlineData("../../etc/passwd", "passwd")]
    [InlineData(@"..\..\Windows\win.ini", "win.ini")]
    [InlineData(@"C:\fakepath\a b.txt", "a b.txt")]
    [InlineData("Übersicht 📊.xlsx", "Übersicht 📊.xlsx")]
    [InlineData(".gitignore", ".gitignore")]
    [InlineData("a..b", "a..b")]
    [InlineData("", null)]
    [InlineData(" ", null)]
    [InlineData(".", null)]
    [InlineData("..", null)]
    [InlineData("a/..", null)]
    [InlineData("folder/", null)]
    [InlineData("a\0b", null)]
    [InlineData("a\nb", null)]
    [InlineData("a\u0085b", null)]
    public void A_name_is_what_stands_behind_the_folders_and_has_no_control_characters(string sent, string? name)
    {
        Assert.Equal(name, FileNames.Read(sent, out var why));
        Assert.Equal(name is null, why is not null);
    }

    /// <summary>An attribute could not hold it.</summary>
    [Fact]
    public void Half_a_character_is_in_no_name() => Assert.Null(FileNames.Read("a\ud83d", out _));

    [Fact]
    public void A_name_has_at_most_255_bytes_however_few_characters_they_are()
    {
        var emoji = string.Concat(Enumerable.Repeat("📊", 63));
        Assert.Equal(emoji + "abc", FileNames.Read(emoji + "abc", out _));
        Assert.Null(FileNames.Read(emoji + "abcd", out var why));
        Assert.Contains("255", why);
    }
}
