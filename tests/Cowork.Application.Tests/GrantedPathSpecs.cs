using System.Runtime.InteropServices;
using System.Text;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class GrantedPathSpecs : IDisposable
{
    readonly Workspace _work = new();

    public GrantedPathSpecs()
    {
        _work.Write("a.txt", "what lies inside");
        _work.Write("data/b.txt", "b");
        _work.Write("data/ä ö.txt", "umlauts");
        _work.Link("link.txt", "a.txt");
        _work.Link("absolute.txt", Path.Combine(_work.Root, "a.txt"));
        _work.Link("folder", "data");
        _work.Link("out.txt", "../beside/outside.txt");
        _work.Link("out", _work.Beside);
        _work.Link("dangling.txt", "../beside/nothing.txt");
        _work.Link("loop", "loop");
        _work.Link("proc", "/proc/self/root");
        _work.Link("chain", "out");
        _work.Command("mkfifo", "fifo");
        _work.Command("ln", "../beside/outside.txt", "hard.txt");
        _work.Command("git", "init", "-q");
    }

    public void Dispose() => _work.Dispose();

    [Theory]
    [InlineData("a.txt",                  "found a.txt")]
    [InlineData("./a.txt",                "found a.txt")]
    [InlineData("data/../a.txt",          "found a.txt")]
    [InlineData("nothing/../a.txt",       "found a.txt")]
    [InlineData("data/ä ö.txt",           "found data/ä ö.txt")]
    [InlineData("data/",                  "found data")]
    [InlineData(".",                      "found .")]
    [InlineData("{root}",                 "found .")]
    [InlineData("{root}/a.txt",           "found a.txt")]
    [InlineData("link.txt",               "found a.txt")]
    [InlineData("absolute.txt",           "found a.txt")]
    [InlineData("folder/b.txt",           "found data/b.txt")]
    [InlineData("fifo",                   "unreadable fifo")]
    [InlineData("hard.txt",               "unreadable hard.txt")]    // its other name lies outside
    [InlineData(".git/HEAD",              "found .git/HEAD")]
    [InlineData("A.TXT",                  "missing A.TXT")]          // case matters, as on the disk
    [InlineData("nothing.txt",            "missing nothing.txt")]
    [InlineData("folder/nothing.txt",     "missing data/nothing.txt")]
    [InlineData("a.txt/x",                "missing a.txt/x")]
    [InlineData("..%2fbeside",            "missing ..%2fbeside")]    // a name like any other: nothing is decoded
    [InlineData("..",                     "outside")]
    [InlineData("../beside/outside.txt",  "outside")]
    [InlineData("../beside/nothing.txt",  "outside")]                // told apart from the line above by nobody
    [InlineData("{root}/../beside",       "outside")]
    [InlineData("{root}x",                "outside")]
    [InlineData("/etc/passwd",            "outside")]
    [InlineData("/proc/self/environ",     "outside")]
    [InlineData("out.txt",                "outside")]
    [InlineData("out",                    "outside")]
    [InlineData("out/outside.txt",        "outside")]
    [InlineData("out/nothing.txt",        "outside")]
    [InlineData("out/../a.txt",           "found a.txt")]            // dots are text: the way does not lead through the link
    [InlineData("dangling.txt",           "outside")]
    [InlineData("loop",                   "outside")]
    [InlineData("chain/outside.txt",      "outside")]
    [InlineData("proc/etc/passwd",        "outside")]
    [InlineData("/dev/zero",              "outside")]
    [InlineData("",                       "invalid")]
    [InlineData("  ",                     "invalid")]
    [InlineData("a\0.txt",                "invalid")]
    public void A_path_comes_to(string path, string expected)
    {
        using var granted = GrantedPath.Open(_work.Root, path.Replace("{root}", _work.Root, StringComparison.Ordinal));
        Assert.Equal(expected, Word(granted));
    }

    [Theory]
    [InlineData(300, false)]
    [InlineData(5_000, true)]
    public void A_path_that_no_file_can_have_is_invalid(int length, bool slashes)
    {
        using var granted = GrantedPath.Open(_work.Root, slashes ? string.Concat(Enumerable.Repeat("abcdefghi/", length / 10)) : new string('x', length));
        Assert.IsType<GrantedPath.Invalid>(granted);
    }

    [Fact]
    public void A_path_with_half_a_character_is_invalid()
    {
        using var granted = GrantedPath.Open(_work.Root, "a\ud800.txt");
        Assert.IsType<GrantedPath.Invalid>(granted);
    }

    [Fact]
    public void A_grant_that_is_a_link_itself_is_what_it_leads_to()
    {
        var alias = Path.Combine(_work.Top, "alias");
        File.CreateSymbolicLink(alias, _work.Root);
        using var relative = GrantedPath.Open(alias, "link.txt");
        using var absolute = GrantedPath.Open(alias, Path.Combine(alias, "a.txt"));
        Assert.Equal(("found a.txt", "found a.txt"), (Word(relative), Word(absolute)));
    }

    [Fact]
    public void A_grant_that_is_gone_holds_nothing()
    {
        using var granted = GrantedPath.Open(_work.Root + "-gone", "a.txt");
        Assert.IsType<GrantedPath.Missing>(granted);
    }

    [Fact]
    public void A_file_of_a_git_checkout_can_be_read()
    {
        _work.Command("git", "add", "a.txt");
        _work.Command("git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", "commit", "-q", "-m", "a");
        _work.Command("git", "clone", "-q", ".", "copy");
        using var granted = GrantedPath.Open(_work.Root, "copy/a.txt");
        Assert.Equal("found copy/a.txt", Word(granted));
    }

    [Fact]
    public async Task A_link_that_is_turned_all_the_time_never_yields_what_lies_outside()
    {
        using var stop = new CancellationTokenSource();
        var flipping = Path.Combine(_work.Root, "flip");
        Directory.CreateDirectory(Path.Combine(_work.Root, "in"));
        _work.Write("in/outside.txt", "what lies inside");
        var flipper = Task.Run(() =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                File.CreateSymbolicLink(flipping + "-new", i % 2 == 0 ? _work.Beside : "in");
                _ = Rename(Encoding.UTF8.GetBytes(flipping + "-new\0"), Encoding.UTF8.GetBytes(flipping + "\0"));
            }
        });
        var (read, refused) = (0, 0);
        try
        {
            // Both sides must have come up, or the race was never run.
            for (var i = 0; i < 2_000 || ((read == 0 || refused == 0) && i < 100_000); i++)
            {
                using var granted = GrantedPath.Open(_work.Root, "flip/outside.txt");
                if (granted is GrantedPath.Found found)
                {
                    using var reader = new StreamReader(found.OpenRead());
                    Assert.Equal("what lies inside", await reader.ReadToEndAsync());
                    read++;
                }
                else
                {
                    refused++;
                }
            }
        }
        finally
        {
            await stop.CancelAsync();
            await flipper;
        }
        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    // File.Move follows links to folders before it moves them.
    [DllImport("libc", EntryPoint = "rename")]
    static extern int Rename(byte[] from, byte[] to);

    static string Word(GrantedPath granted) => granted switch
    {
        GrantedPath.Invalid => "invalid",
        GrantedPath.Outside => "outside",
        GrantedPath.Missing missing => $"missing {missing.Relative}",
        GrantedPath.Found { Unreadable: null } found => $"found {found.Relative}",
        GrantedPath.Found found => $"unreadable {found.Relative}",
        _ => "?",
    };
}
